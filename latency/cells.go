package latency

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/ringwire/ringwire/internal/buckets"
)

// Schema tells how wide exponential cells are: 2^Schema of them for each doubling.
const Schema = 3

// Lowest is the lowest number that Exponential yields: of what took no longer than LeastSeconds.
const Lowest = -23 << Schema

const (
	perDoubling = 1 << Schema
	// Exponential bounds are 2^(i/8) seconds for i from lowest to highest.
	lowest  = Lowest
	highest = 13 * perDoubling
	// cells is how many there are: one for each bound, of which 16 are not exponential, and one for
	// what is longer than all.
	cells = highest - lowest + 1 + 16 + 1
)

// LeastSeconds is the first bound, 2^-23 s; Least is the same, rounded down. What took no longer is
// in one cell.
const (
	LeastSeconds = 1.0 / (1 << 23)
	Least        = 119 * time.Nanosecond
)

// steps are the bounds beside the exponential ones.
var steps = buckets.Steps

// Steps returns 1, 2.5 and 5 times each power of ten from 10 µs to 10 s: the bounds of buckets that
// people read.
func Steps() []time.Duration { return slices.Clone(steps[:]) }

// bounds are the longest durations of the cells but the last, in nanoseconds, rising. exponents has
// the i of those that are exponential, and of the others that of the next one.
var bounds, exponents = makeBounds()

// starts has the first cell that may hold a duration, by its length in bits and the three bits
// behind the first.
var starts = makeStarts()

func makeBounds() (all [cells - 1]int64, exps [cells - 1]int16) {
	list := make([]int64, 0, cells)
	for i := lowest; i <= highest; i++ {
		list = append(list, exponential(i))
	}
	for _, s := range steps {
		list = append(list, int64(s))
	}
	slices.Sort(list)
	list = slices.Compact(list) // 1, 0.5 and 0.25 s are both
	exp := lowest
	for i := range all {
		for exponential(exp) < list[i] {
			exp++
		}
		all[i], exps[i] = list[i], int16(exp)
	}
	return all, exps
}

// exponential returns 2^(i/8) s in nanoseconds, rounded down.
func exponential(i int) int64 {
	return int64(math.Exp2(float64(i)/perDoubling) * float64(time.Second))
}

func makeStarts() (all [64 * perDoubling]int16) {
	cell := 0
	for key := range all {
		least, shift := int64(1), key/perDoubling
		switch part := int64(key % perDoubling); {
		case shift >= 63:
			least = math.MaxInt64
		case shift >= Schema:
			least = 1<<shift + part<<(shift-Schema)
		default:
			least = 1 << shift
		}
		for cell < cells-1 && bounds[cell] < least {
			cell++
		}
		all[key] = int16(cell)
	}
	return all
}

// cellOf returns the cell that counts a duration.
func cellOf(d time.Duration) int {
	v := max(int64(d), 1)
	shift := bits.Len64(uint64(v)) - 1
	part := 0
	if shift >= Schema {
		part = int(v>>(shift-Schema)) & (perDoubling - 1)
	}
	cell := int(starts[shift*perDoubling+part])
	for cell < cells-1 && v > bounds[cell] {
		cell++
	}
	return cell
}
