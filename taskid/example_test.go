package taskid_test

import (
	"fmt"

	"github.com/ringwire/ringwire/taskid"
)

func ExampleTable() {
	table := taskid.NewTable[string](1024)

	s, id := table.Acquire() // nil if 1024 requests are in flight
	s.V = "who waits for the reply"
	if !table.Arm(s, id, taskid.NoTick) { // from here it completes exactly once
		table.Free(id) // the connection was closed
		return
	}
	// Its frame is written, and a reply comes.

	if s, match := table.Answer(id); match == taskid.Won {
		fmt.Println("reply for", s.V)
		table.Free(id)
	}
	if _, match := table.Answer(id); match == taskid.Unknown {
		fmt.Println("a second reply is dropped")
	}
	// Output:
	// reply for who waits for the reply
	// a second reply is dropped
}

// A request that was given up keeps its ID until the answer comes after all.
func ExampleTable_Cancel() {
	table := taskid.NewTable[string](1024)

	s, id := table.Acquire()
	s.V = "who lost patience"
	table.Arm(s, id, taskid.NoTick)

	if s, won := table.Cancel(id); won {
		fmt.Println("given up:", s.V)
		table.Release(id)
	}
	fmt.Println("in quarantine:", table.Orphans())
	if _, match := table.Answer(id); match == taskid.Late {
		fmt.Println("a late reply is dropped")
	}
	fmt.Println("in quarantine:", table.Orphans())
	// Output:
	// given up: who lost patience
	// in quarantine: 1
	// a late reply is dropped
	// in quarantine: 0
}
