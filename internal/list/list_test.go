package list_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/invariant"
	"github.com/ringwire/ringwire/internal/list"
)

// item has places in two lists.
type item struct {
	id         int
	place, too list.Node[item]
}

// forwards and backwards return the IDs in l as its links tell them.
func forwards(l *list.List[item]) (ids []int) {
	for e := l.Front(); e != nil; e = e.place.Next() {
		ids = append(ids, e.id)
	}
	return ids
}

func backwards(l *list.List[item]) (ids []int) {
	for e := l.Back(); e != nil; e = e.place.Prev() {
		ids = append(ids, e.id)
	}
	return ids
}

// TestListAgainstAModel makes random moves on a list and on a slice, and compares
// what both hold after each.
func TestListAgainstAModel(t *testing.T) {
	const moves = 100_000
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	items := make([]item, 8)
	for i := range items {
		items[i].id = i
	}
	var l list.List[item]
	var model []int
	for move := range moves {
		e := &items[r.IntN(len(items))]
		at := slices.Index(model, e.id)
		switch {
		case at >= 0:
			require.True(t, l.Remove(&e.place))
			model = slices.Delete(model, at, at+1)
		case r.IntN(8) == 0:
			require.False(t, l.Remove(&e.place), "it is in no list")
		case r.IntN(2) == 0:
			l.PushFront(&e.place, e)
			model = slices.Insert(model, 0, e.id)
		default:
			l.PushBack(&e.place, e)
			model = append(model, e.id)
		}
		reversed := slices.Clone(model)
		slices.Reverse(reversed)
		if !slices.Equal(forwards(&l), model) || !slices.Equal(backwards(&l), reversed) ||
			l.Len() != len(model) {
			t.Fatalf("seed %d, move %d: %v, backwards %v, %d long; the model holds %v",
				seed, move, forwards(&l), backwards(&l), l.Len(), model)
		}
		for i := range items {
			if listed := items[i].place.Listed(); listed != slices.Contains(model, i) {
				t.Fatalf("seed %d, move %d: element %d listed: %v", seed, move, i, listed)
			}
		}
	}
}

func TestAnElementOutsideHasNoNeighbours(t *testing.T) {
	var l list.List[item]
	var a, b, c item
	for _, e := range []*item{&a, &b, &c} {
		l.PushBack(&e.place, e)
	}
	require.True(t, l.Remove(&b.place))
	assert.Nil(t, b.place.Next())
	assert.Nil(t, b.place.Prev())
	assert.Same(t, &c, a.place.Next())
	assert.Same(t, &a, c.place.Prev())
}

func TestAnElementWithTwoNodesIsInTwoLists(t *testing.T) {
	var one, two list.List[item]
	var a, b item
	one.PushBack(&a.place, &a)
	one.PushBack(&b.place, &b)
	two.PushFront(&a.too, &a)
	two.PushFront(&b.too, &b)
	assert.Same(t, &b, a.place.Next())
	assert.Same(t, &a, b.too.Next())
	require.True(t, one.Remove(&a.place))
	assert.Same(t, &a, two.Back())
	assert.Equal(t, 1, one.Len())
	assert.Equal(t, 2, two.Len())
}

func TestPushOfAListedElementPanicsUnderTheTag(t *testing.T) {
	if !invariant.Enabled {
		t.Skip("needs the build tag invariant")
	}
	var one, two list.List[item]
	var a item
	one.PushBack(&a.place, &a)
	assert.Panics(t, func() { one.PushFront(&a.place, &a) })
	assert.Panics(t, func() { two.PushBack(&a.place, &a) })
}
