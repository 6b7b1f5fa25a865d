package ring

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/racedetector"
)

// Bytes as a model whose every interleaving is tried. Each step is one atomic operation
// of bytes.go, or one that only its goroutine can observe. The model's queue has two
// chunks of two bytes; its producers pass the right to consume among themselves. A
// producer that has published looks whether the right is free, one that has freed it
// looks at Ready. A producer that is refused drops its record, and looks as well.

const (
	modelChunks     = 2
	modelChunkBytes = 2
	modelProducers  = 3
)

// modelQueue is a Bytes, the goroutines that use it, and what happened to the records.
type modelQueue struct {
	state    modelWord
	consumed int8
	held     bool                                     // the right
	cells    [modelChunks]int8                        // 0 is nil
	chunks   [1 + modelChunks + modelProducers]aChunk // chunk 0 is none
	pool     uint8                                    // the chunks in nobody's use, bit by bit
	p        [modelProducers]modelProducer
}

// modelWord is the state word.
type modelWord struct {
	number, used int8
	sealed       bool
}

type aChunk struct {
	records, filled, limit int8

	owner   [modelChunkBytes]int8 // the record that a byte is reserved for
	written uint8                 // a bit for each byte
}

// modelProducer holds the variables of its function. One that is not needed any more
// is zero, so that equal situations are equal states.
type modelProducer struct {
	at             int8
	record         int8  // the one at work
	taken, refused uint8 // a bit for each record

	v            modelWord
	number       int8 // of the chunk with its room, or that Ready looks at
	c, old       int8
	used         int8 // where the record begins in its chunk
	size, filled int8
	saw          uint8 // what it could have been told truly
}

// The places of a producer: Reserve, extend, the record, the right, Take, Done, Ready.
const (
	reserveLoad int8 = iota
	reserveCell
	reserveSwap
	extendConsumed
	extendFull
	extendCell
	extendGet
	extendInstall
	extendKeep
	extendEarlyLimit // with a fault
	extendSwap
	extendOld
	extendLimit
	recordCopy
	recordPublish
	rightLook
	rightTake
	takeState
	takeCell
	takeSeal
	takeLimit
	takeSize
	takeFilled
	doneCell
	doneConsumed
	doneFilled
	doneLimit
	doneKeep
	rightFree
	readyConsumed
	readyCell
	readyNone
	readyFilled
	readySize
	readyState
	readyAgain
	rightRetake
	gone
)

// bytesFault is what a model does wrong.
type bytesFault int

const (
	noFault bytesFault = iota
	limitBeforeSwap
	limitOfForeignSeal
	installsByStore
	chunkTooMany
	fullUnasked
	publishesBeforeCopy
	looksBeforePublish
	noLookAfterRelease
	sealsByStore
	takesUnsealed
	takesUnfilled
	consumedBeforeEmptied
	keepsBeforeReset
	noFilledReset
	noLimitReset
	readyReservedFirst
	readySealedOnly
	readyAnyChunk
)

// bytesModel is a case: the sizes of each producer's records, and what is wrong. A
// goroutine that has none is an onlooker, which asks Ready once.
type bytesModel struct {
	sizes [][]int8
	fault bytesFault

	// switches is how often a goroutine may be interrupted; negative: at any time.
	switches int8

	seen map[modelNode]bool // true when all that follows was tried
	left int                // how many chunks were in cells of a queue left empty
}

// modelNode is a state, and with bounded switches which goroutine runs and how many
// switches remain.
type modelNode struct {
	modelQueue
	running, switches int8
}

// explore tries every interleaving, or those with that many switches at most.
func (m *bytesModel) explore() (problem string) {
	first := modelNode{switches: m.switches, running: -1}
	first.state.sealed = true
	first.consumed = 1
	first.pool = 1<<len(first.chunks) - 2
	for i := range first.p {
		switch {
		case i >= len(m.sizes):
			first.p[i].at = gone
		case len(m.sizes[i]) == 0:
			first.p[i].at = readyConsumed
		}
	}
	m.seen = map[modelNode]bool{}
	return m.visit(first)
}

// visit tries all that can follow s.
func (m *bytesModel) visit(s modelNode) (problem string) {
	m.seen[s] = false
	over := true
	for i := range s.p {
		if s.p[i].at == gone {
			continue
		}
		over = false
		n := s
		if m.switches >= 0 {
			n.running = int8(i)
			if r := s.running; r >= 0 && r != n.running && s.p[r].at != gone {
				if n.switches--; n.switches < 0 {
					continue
				}
			}
		}
		if problem := m.step(&n.modelQueue, i); problem != "" {
			return fmt.Sprintf("%s: %+v", problem, n)
		}
		n.watch()
		done, known := m.seen[n]
		if known && !done {
			return fmt.Sprintf("goes round and round: %+v", n)
		}
		if !known {
			if problem := m.visit(n); problem != "" {
				return problem
			}
		}
	}
	m.seen[s] = true
	if over {
		return m.end(&s.modelQueue)
	}
	return ""
}

// end looks at what remains when all producers have gone.
func (m *bytesModel) end(s *modelQueue) string {
	for i, sizes := range m.sizes {
		if s.p[i].taken|s.p[i].refused != 1<<len(sizes)-1 {
			return fmt.Sprintf("a record is left behind: %+v", *s)
		}
	}
	inCells, pooled := 0, 0
	for _, c := range s.cells {
		if c != 0 {
			inCells++
		}
	}
	for c := range s.chunks {
		pooled += int(s.pool >> c & 1)
	}
	m.left = max(m.left, inCells)
	if inCells+pooled != len(s.chunks)-1 {
		return fmt.Sprintf("a chunk is lost: %+v", *s)
	}
	return ""
}

// Two producers, interrupted anywhere and any number of times. One that stands still
// meets up to four chunks' worth of the other's records: two laps of the cells.
func TestEveryInterleavingOfBytesModel(t *testing.T) {
	cases := [][][]int8{
		{{1}, {1, 2, 1}},
		{{1}, {2, 2, 1, 2}},
		{{1, 1}, {1, 1}},
		{{1, 2}, {1, 1}},
		{{1}, {1}, nil},
	}
	if racedetector.On {
		cases = cases[:1] // a model has one goroutine
	}
	for _, sizes := range cases {
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			m := &bytesModel{sizes: sizes, switches: -1}
			require.Empty(t, m.explore())
			require.Equal(t, 1, m.left, "a late producer leaves a chunk for the next lap")
			t.Log(len(m.seen), "states")
		})
	}
}

// Three producers have too many interleavings for all to be tried.
func TestThreeProducersOfBytesModel(t *testing.T) {
	if racedetector.On {
		t.Skip("a model has one goroutine")
	}
	m := &bytesModel{sizes: [][]int8{{1, 2}, {1, 1}, {2, 1}}, switches: 2}
	require.Empty(t, m.explore())
	t.Log(len(m.seen), "states")
}

// The model is worth something only if it finds what it is there to find.
func TestFaultsOfBytesModel(t *testing.T) {
	for fault, name := range map[bytesFault]string{
		limitBeforeSwap:       "the limit is stored before the swap",
		limitOfForeignSeal:    "a limit is stored though the consumer has sealed",
		installsByStore:       "a chunk is stored into a cell that is in use",
		chunkTooMany:          "there may be a chunk more than there are cells",
		fullUnasked:           "a producer that was late says full",
		publishesBeforeCopy:   "a record is published and then written",
		looksBeforePublish:    "the look precedes the publication",
		noLookAfterRelease:    "no look after the release",
		sealsByStore:          "the seal is stored without a look",
		takesUnsealed:         "Take does not seal",
		takesUnfilled:         "Take does not wait for the bytes",
		consumedBeforeEmptied: "consumed moves before the cell is emptied",
		keepsBeforeReset:      "a chunk is given back before it is reset",
		noFilledReset:         "a chunk keeps the count of its bytes",
		noLimitReset:          "a chunk keeps its limit",
		readyReservedFirst:    "Ready reads the bytes reserved before those published",
		readySealedOnly:       "Ready overlooks a chunk that is not sealed",
		readyAnyChunk:         "Ready takes the bytes reserved in a later chunk",
	} {
		t.Run(name, func(t *testing.T) {
			problem := ""
			for _, m := range []*bytesModel{
				{sizes: [][]int8{{1}, {1, 2, 1}}, switches: -1},
				{sizes: [][]int8{{1}, {1}, nil}, switches: -1},
				{sizes: [][]int8{{2}, {2}, nil}, switches: -1},
			} {
				m.fault = fault
				if problem = m.explore(); problem != "" {
					break
				}
			}
			require.NotEmpty(t, problem)
			t.Log(problem)
		})
	}
}
