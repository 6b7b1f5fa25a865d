//go:build !race

package list_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/list"
)

func TestPushAndRemoveAllocNothing(t *testing.T) {
	var l list.List[item]
	items := make([]item, 3)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for i := range items {
			l.PushFront(&items[i].place, &items[i])
		}
		l.Remove(&items[1].place)
		l.PushBack(&items[1].place, &items[1])
		for e := l.Front(); e != nil; e = l.Front() {
			l.Remove(&e.place)
		}
	}))
}
