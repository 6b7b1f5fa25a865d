package load

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/load/request"
)

func TestCodesBeyondTheBoundAreOneTogether(t *testing.T) {
	r := newRecord(&request.Mix{Kinds: make([]request.Kind, 1)})
	for i := range 100 {
		for range 2 {
			r.code([]byte(fmt.Sprintf("%02d", i)), true).count++
		}
	}
	assert.Len(t, r.codes, codesMax+1)
	assert.EqualValues(t, 2, r.codes["63"].count)
	assert.EqualValues(t, 2*(100-codesMax), r.codes[""].count)
	assert.Equal(t, OtherCodes, r.codes[""].name)

	sum := newRecord(&request.Mix{Kinds: make([]request.Kind, 1)})
	sum.merge(r)
	sum.merge(r)
	assert.EqualValues(t, 4, sum.codes["00"].count)
}

func TestLatenciesOutOfRangeAreRecordedAtItsEnds(t *testing.T) {
	var l latency
	for _, d := range []time.Duration{-time.Second, time.Second, 100 * time.Hour} {
		l.record(d)
	}
	assert.EqualValues(t, 3, l.TotalCount(), "none is left out")
	assert.InEpsilon(t, int64(latencyMax), l.Max(), 0.001)
	assert.Zero(t, l.Min())
}
