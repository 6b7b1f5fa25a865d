//go:build !race && !invariant

package gate

import (
	"fmt"

	"github.com/ringwire/ringwire/benchmarks/internal/load"
)

// processors is how many client and server each have, whatever the machine has: how
// many callers run at once decides how many frames meet in a write.
const processors = 2

// payloadBytes is the size of requests and replies.
const payloadBytes = 64

// budget is a load and what it may cost. This table is the only place to edit
// when a change is meant to move a figure.
type budget struct {
	api      load.API
	callers  int
	requests int

	// Allocations at most: of the client for each call (a SendBatch is one), of the
	// server for each request.
	clientAllocs, serverAllocs float64

	// Frames in a write, at least, and reads and writes that moved bytes for each
	// request, at most.
	clientFrames, serverFrames float64
	clientOps, serverOps       float64

	// System calls for each request, at most, as strace counts them, but for those
	// that grow with time or memory. Each process has tracedProcs processors
	// meanwhile; 0 leaves it all. Without tracedRequests the load is not traced.
	tracedRequests, tracedProcs int
	clientCalls, serverCalls    float64
}

// budgets. Frames per write depend on the scheduler: the floors are some 0.6 of
// the least that was seen in 20 runs on an idle and 20 on a busy machine of two
// processors, and the ceilings of what follows from them the most divided by 0.6.
// To choose them anew, repeat make gate, which prints each figure, beside two
// processes that do nothing but spin, and without them. Seen (least, median, most; sendinto 64
// on an idle machine again in 34 runs on 28 Nov 2026, with this client and with that of a7d2411):
//
//	                      idle                   busy
//	sendinto 64    client 20.7  22.2  23.9       28.5  32.3  34.3   frames/write
//	               server 21.2  23.1  25.3       44.0  50.1  59.1
//	sendinto 1024  client 60.6   126   271        136   265   625
//	               server  102   252   448        237   333   471
//	go 1024        client  346   368   408        355   370   388   (32 KiB are 468)
//	               server  346   368   408        355   371   388
//	batch 1024     client 341, server 341, always
//	sendinto 1     client 4.76  4.98  5.87       4.82  5.18  5.73   system calls/request
//	               server 3.66  4.00  4.83       4.00  4.40  4.97
//	sendinto 64    client 0.129 0.152 0.192      0.093 0.151 0.183
//	               server 0.118 0.133 0.183      0.107 0.133 0.162
//	sendinto 1024  client .0063 .0107 .0164      .0081 .0115 .0174
//	               server .0088 .0130 .0211      .0094 .0131 .0368
var budgets = []budget{
	{
		api: load.SendInto, callers: 1, requests: 20_000,
		clientFrames: 1, serverFrames: 1, clientOps: 2, serverOps: 2,
		// With more processors, up to three futexes a request wake idle threads.
		tracedRequests: 3000, tracedProcs: 1, clientCalls: 7.5, serverCalls: 6.5,
	},
	{
		api: load.SendInto, callers: 64, requests: 400_000,
		clientFrames: 11, serverFrames: 12.5, clientOps: 0.16, serverOps: 0.16,
		tracedRequests: 30_000, clientCalls: 0.3, serverCalls: 0.3,
	},
	{
		api: load.SendInto, callers: 1024, requests: 400_000,
		clientFrames: 36, serverFrames: 60, clientOps: 0.035, serverOps: 0.035,
		tracedRequests: 100_000, clientCalls: 0.035, serverCalls: 0.06,
	},
	{
		api: load.Go, callers: 1024, requests: 1_000_000,
		clientFrames: 180, serverFrames: 180, clientOps: 0.01, serverOps: 0.01,
	},
	{
		api: load.Batch, callers: 1024, requests: 1_000_000,
		clientFrames: 300, serverFrames: 200, clientOps: 0.008, serverOps: 0.009,
	},
}

// allocSlack is how many allocations of a whole run count as none: starting the
// callers and asking for the counters allocate a little, and so does the runtime,
// for callers that wait on another processor than before. It is 0.001 for each of
// 400,000 requests.
const allocSlack = 400

// opsSlack likewise: asking for the counters costs a request.
const opsSlack = 0.001

// instructionsMargin is by how much instructions per request may exceed the
// baseline.
const instructionsMargin = 0.25

func (b budget) String() string { return fmt.Sprintf("api=%s/callers=%d", b.api, b.callers) }

// calls is how many calls of the client's API make the requests.
func (b budget) calls() float64 {
	if b.api == load.Batch {
		return float64(b.requests) / float64(b.callers)
	}
	return float64(b.requests)
}
