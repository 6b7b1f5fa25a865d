package taskid

// Stash is a private store of free slots for who releases and acquires many in a
// row, such as a reader whose callbacks send the next requests: a slot passes
// through it without an atomic operation, and the rest is traded with the table
// in bulk. One goroutine at a time owns it, and must call Return before it stops
// for long, since nobody else can use the slots meanwhile.
//
// It is first in, first out like the table's own list, and slots that it hands out
// again have rested while at least stashRest others were released.
type Stash[T any] struct {
	table *Table[T]

	fresh       [stashFresh]uint32 // taken from the table: fresh[next:end]
	next, end   int
	want        int // how many the next trade takes; doubles, so that few need few
	used        [stashUsed]uint32
	first, last uint32 // positions in used, modulo its length
}

const (
	stashFresh = 32
	stashUsed  = 1 << 10 // a power of two; more go straight to the table
	stashRest  = 64
)

// NewStash returns an empty store of t's slots.
func (t *Table[T]) NewStash() *Stash[T] { return &Stash[T]{table: t, want: 1} }

// Acquire is Table.Acquire.
func (st *Stash[T]) Acquire() *Slot[T] {
	t := st.table
	if st.last-st.first > stashRest {
		return t.use(st.pop())
	}
	if st.next == st.end {
		st.next, st.end = 0, t.free.popInto(st.fresh[:st.want])
		st.want = min(2*st.want, stashFresh)
	}
	switch {
	case st.next < st.end:
		st.next++
		return t.use(st.fresh[st.next-1])
	case st.last != st.first:
		return t.use(st.pop())
	}
	return t.Acquire()
}

func (st *Stash[T]) pop() uint32 {
	st.first++
	return st.used[(st.first-1)%stashUsed]
}

// Release is Table.Release. While the table is nearly used up others need the
// slot more.
func (st *Stash[T]) Release(s *Slot[T]) {
	t := st.table
	if !t.letGo(s) {
		return
	}
	if st.last-st.first == stashUsed || t.scarce() {
		t.put(s)
		return
	}
	s.Buf.drop()
	st.used[st.last%stashUsed] = s.index
	st.last++
}

// Return gives every slot back to the table and reports whether there was any.
func (st *Stash[T]) Return() bool {
	free := &st.table.free
	if st.next == st.end && st.first == st.last {
		return false
	}
	free.pushAll(st.fresh[st.next:st.end])
	from, to := st.first%stashUsed, st.last%stashUsed
	if from > to || st.last-st.first == stashUsed {
		free.pushAll(st.used[from:])
		from = 0
	}
	free.pushAll(st.used[from:to])
	st.next, st.end, st.want, st.first, st.last = 0, 0, 1, 0, 0
	return true
}
