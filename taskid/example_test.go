package taskid_test

import (
	"fmt"

	"github.com/ringwire/ringwire/taskid"
)

func ExampleTable() {
	table := taskid.NewTable[string](1024)

	s := table.Acquire() // nil if 1024 requests are in flight
	s.V = "who waits for the reply"
	id := s.ID()
	table.Arm(s, taskid.NoTick)      // from here it completes exactly once
	table.MarkSent(s, taskid.NoTick) // its frame is about to be written

	if s, match := table.Answer(id); match == taskid.Won {
		fmt.Println("reply for", s.V)
		table.Release(s)
	}
	if _, match := table.Answer(id); match == taskid.Unknown {
		fmt.Println("a second reply is dropped")
	}
	// Output:
	// reply for who waits for the reply
	// a second reply is dropped
}
