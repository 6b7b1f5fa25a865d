package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/ring"
	"github.com/ringwire/ringwire/taskid"
)

// unanswered returns how many bytes were written that have no reply, and were not given
// back.
func (o *outbox) unanswered() int64 {
	back := o.credit.answered.Load() + o.credit.returned.Load()
	return int64(o.sent.bytes.Load() - back)
}

// keeper is a peer that reads all and keeps what it is asked, until it is told to answer.
type keeper struct {
	format framing.Format

	mu  sync.Mutex
	far *far
	ids []taskid.ID
	got int64 // bytes of all frames
}

func (k *keeper) take(p *far, f framing.Frame) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.far = p
	k.got += int64(k.format.HeaderSize() + len(f.Payload))
	k.ids = append(k.ids, f.ID)
}

// answer answers the first n that are not answered, at most, and returns how many it did.
func (k *keeper) answer(n int) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n = min(n, len(k.ids))
	for _, id := range k.ids[:n] {
		k.far.reply(id, nil)
	}
	k.ids = k.ids[n:]
	return n
}

func (k *keeper) bytes() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.got
}

// overshoots are sizes of requests, and by how much MaxInFlightBytes may be exceeded.
var overshoots = []struct{ payload, bound, over int }{
	{100, 200_000, ring.ChunkBytes},
	{1000, 100, ring.ChunkBytes},
	{30_000, 200_000, ring.ChunkBytes},
	{ring.ChunkBytes - 8, 300_000, ring.ChunkBytes},
	{300_000, 1_500_000, 300_000},
	{300_000, 1000, 300_008},
	{900_000, 1_500_000, 900_008},
}

func TestWhatIsUnansweredIsBoundedAndEachReplyLetsMoreGo(t *testing.T) {
	for _, c := range overshoots {
		for _, queue := range []int{1, 10} {
			t.Run(fmt.Sprintf("%+v, QueueSize=%d", c, queue), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					k := &keeper{format: wide}
					b := bubbleBroker(t, Config{
						Framing: wide, MaxInFlightBytes: c.bound, QueueSize: queue,
						ReadTimeout: -1, RequestTimeout: -1, SilenceTimeout: -1, MaxInFlight: 1 << 16,
						DialContext: pipeDial(farEnd(wide, k.take)),
					})
					conn := onlyConn(t, b)
					var answered atomic.Int64
					fn := func(_ []byte, err error) {
						if err == nil {
							answered.Add(1)
						}
					}
					req, accepted := make([]byte, c.payload), int64(0)
					for {
						err := b.Go(bg, req, fn)
						synctest.Wait()
						if err != nil {
							require.ErrorIs(t, err, ErrQueueFull)
							break
						}
						accepted++
					}
					require.Equal(t, queue, b.backlog.len(), "it is refused when the queue is full")
					size := int64(wide.HeaderSize() + c.payload)
					most := int64(c.bound + c.over)
					for done := int64(0); ; done++ {
						out := k.bytes() - done*size
						require.Equal(t, out, conn.out.unanswered())
						require.LessOrEqual(t, out, most, "after %d replies", done)
						if out < int64(c.bound) {
							require.Equal(t, accepted*size, k.bytes(), "there is room, so all has left")
						}
						if k.answer(1) == 0 {
							break
						}
						synctest.Wait()
					}
					require.Equal(t, accepted, answered.Load())
					require.Zero(t, conn.out.unanswered())
				})
			})
		}
	}
}

func TestWithoutABoundAllIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{format: wide}
		b := bubbleBroker(t, Config{
			Framing: wide, MaxInFlightBytes: -1, ReadTimeout: -1, DialContext: pipeDial(farEnd(wide, k.take)),
		})
		ready(t, b)
		for range 20 {
			require.NoError(t, b.Go(bg, make([]byte, 1<<20), func([]byte, error) {}))
			synctest.Wait()
		}
		require.EqualValues(t, 20*(1<<20+8), k.bytes())
	})
}

// Callers that block wait, however small QueueSize is.
func TestNobodyIsRefusedForTheSakeOfUnansweredBytesWhoBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{format: wide}
		b := bubbleBroker(t, Config{
			Framing: wide, MaxInFlightBytes: 1000, QueueSize: 1, DialContext: pipeDial(farEnd(wide, k.take)),
		})
		ready(t, b)
		const callers = 200
		errs := make(chan error, callers)
		for range callers {
			go func() {
				_, err := b.Send(bg, make([]byte, 30_000))
				errs <- err
			}()
			synctest.Wait()
		}
		for n := 0; n < callers; {
			answered := k.answer(1)
			require.NotZero(t, answered, "after %d replies nothing moves", n)
			n += answered
			synctest.Wait()
		}
		for range callers {
			require.NoError(t, <-errs)
		}
	})
}

// What is given up gives its bytes back, and its late reply does not do so again.
func TestARequestThatIsGivenUpGivesItsBytesBackOnce(t *testing.T) {
	const size, bound = 1008, 200_000
	for _, how := range []string{"cancelled", "Timeout"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &keeper{format: wide}
				b := bubbleBroker(t, Config{
					Framing: wide, MaxInFlightBytes: bound, ReadTimeout: -1, RequestTimeout: -1,
					SilenceTimeout: -1, DialContext: pipeDial(farEnd(wide, k.take)),
				})
				conn := onlyConn(t, b)
				ctx, cancel := context.WithCancel(bg)
				defer cancel()
				call := Call{Timeout: -1}
				if how == "Timeout" {
					call.Timeout = time.Second
				}
				told := make(chan error, 1000)
				fn := func(_ []byte, err error) { told <- err }
				first := 0
				for ; conn.out.unanswered() < bound; first++ {
					require.NoError(t, b.Go(ctx, make([]byte, size-8), fn, call))
					synctest.Wait()
				}
				for range first {
					require.NoError(t, b.Go(bg, make([]byte, size-8), fn))
				}
				synctest.Wait()
				require.EqualValues(t, first*size, k.bytes())
				if how == "cancelled" {
					cancel()
				}
				<-time.After(2 * time.Second) // virtual
				synctest.Wait()
				require.Len(t, told, first)
				require.EqualValues(t, 2*first*size, k.bytes(), "the others have left")
				require.EqualValues(t, first*size, conn.out.unanswered())
				require.Equal(t, first, k.answer(first))
				synctest.Wait()
				require.EqualValues(t, first, b.Stats().LateReplies)
				require.EqualValues(t, first*size, conn.out.unanswered(), "late replies bring nothing back")
				require.Equal(t, first, k.answer(first))
				synctest.Wait()
				require.Len(t, told, 2*first)
				require.Zero(t, conn.out.unanswered())
			})
		})
	}
}

// What was given up before it was written was not written: it has nothing to give back.
func TestARequestThatIsGivenUpUnwrittenLeavesTheBoundAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{format: wide}
		b := bubbleBroker(t, Config{
			Framing: wide, MaxInFlightBytes: 1000, ReadTimeout: -1, RequestTimeout: -1, SilenceTimeout: -1,
			DialContext: pipeDial(farEnd(wide, k.take)),
		})
		conn := onlyConn(t, b)
		ignore := func([]byte, error) {}
		ctx, cancel := context.WithCancel(bg)
		require.NoError(t, b.Go(bg, make([]byte, 40_000), ignore))
		for range 30 { // some of them in the outbox, others in the backlog
			require.NoError(t, b.Go(ctx, make([]byte, 40_000), ignore))
		}
		synctest.Wait()
		require.NoError(t, b.Go(bg, make([]byte, 40_000), ignore))
		<-time.After(time.Second) // virtual
		cancel()
		synctest.Wait()
		require.EqualValues(t, 30, b.Stats().Cancelled)
		for k.answer(1) > 0 {
			<-time.After(time.Second) // virtual
			synctest.Wait()
		}
		require.Less(t, k.bytes(), int64(30*40_008), "what nobody waits for is left out")
		require.EqualValues(t, 2, b.Stats().Replies)
		require.Zero(t, conn.out.unanswered())
		require.Zero(t, b.Stats().Orphans)
	})
}

// One-way requests have no reply that would give their bytes back. They do not make room for
// others before they have left.
func TestOneWayRequestsThatWaitMakeNoRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound, largeBytes = 256 << 10, 1 << 20
		k := &keeper{format: wide}
		open := newTurnstile()
		t.Cleanup(open.release)
		serve := farEnd(wide, k.take)
		b := bubbleBroker(t, Config{
			Framing: wide, MaxInFlightBytes: bound, QueueSize: 1000, ReadTimeout: -1, RequestTimeout: -1,
			WriteTimeout: -1, SilenceTimeout: -1,
			DialContext: pipeDial(func(nc net.Conn) {
				<-open.open
				serve(nc)
			}),
		})
		ready(t, b)
		require.NoError(t, b.Go(bg, nil, func([]byte, error) {}))
		synctest.Wait() // its write waits
		for range largeMax {
			require.NoError(t, b.SendOneWay(bg, make([]byte, largeBytes)))
		}
		for range 300 {
			require.NoError(t, b.Go(bg, make([]byte, 10_000), func([]byte, error) {}))
		}
		open.release()
		<-time.After(time.Minute) // virtual
		synctest.Wait()
		oneWay := int64(b.Stats().OneWay) * (largeBytes + 8)
		require.EqualValues(t, largeMax*(largeBytes+8), oneWay)
		require.LessOrEqual(t, k.bytes()-oneWay, int64(bound+ring.ChunkBytes))
	})
}

// mixed makes requests of all kinds, and a peer that answers some of them at once, some late,
// some after a pause in reading, and all in the end.
type mixed struct {
	b    *Broker
	rng  *rand.Rand
	told atomic.Int64
	open int64 // requests of which we are told
}

func (m *mixed) request() []byte {
	size := 8 + m.rng.IntN([]int{50, 3000, 60_000, 300_000}[m.rng.IntN(4)])
	req := make([]byte, size)
	delay := []int{0, 0, 0, m.rng.IntN(50), m.rng.IntN(3000)}[m.rng.IntN(5)]
	binary.BigEndian.PutUint32(req, uint32(delay)) // of the reply, in milliseconds
	return req
}

func (m *mixed) step(t *testing.T) {
	ctx, cancel := bg, context.CancelFunc(func() {})
	switch m.rng.IntN(4) {
	case 0:
		ctx, cancel = context.WithTimeout(bg, time.Duration(m.rng.IntN(500))*time.Millisecond)
	case 1:
		ctx, cancel = context.WithCancel(bg)
		defer cancel()
	}
	opts := []Call{{}, {Timeout: time.Duration(1+m.rng.IntN(500)) * time.Millisecond}, {Idempotent: true}}
	call := opts[m.rng.IntN(len(opts))]
	var err error
	switch m.rng.IntN(6) {
	case 0:
		err = m.b.SendOneWay(bg, m.request())
	case 1:
		reqs := [][]byte{m.request(), m.request(), m.request()}
		m.open += int64(len(reqs))
		go func() {
			_ = m.b.SendBatch(ctx, reqs, func(int, []byte, error) { m.told.Add(1) }, call)
			cancel()
		}()
		return
	default:
		m.open++
		err = m.b.Go(ctx, m.request(), func([]byte, error) {
			cancel()
			m.told.Add(1)
		}, call)
		if err != nil {
			m.open--
		}
	}
	if err != nil && !errors.Is(err, ErrQueueFull) && ctx.Err() == nil {
		t.Errorf("%v", err)
	}
}

// delayed is a peer for mixed.
func delayed(p *far, f framing.Frame) {
	d := time.Duration(binary.BigEndian.Uint32(f.Payload)) * time.Millisecond
	if d == 0 {
		p.reply(f.ID, f.Payload[:8])
		return
	}
	p.after(d, func() { p.reply(f.ID, f.Payload[:8]) })
}

func TestWhenAllIsAnsweredNothingIsUnanswered(t *testing.T) {
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 5))
			bound := []int{1000, 100_000, 1 << 20}[rng.IntN(3)]
			b := bubbleBroker(t, Config{
				Framing: wide, MaxInFlightBytes: bound, ReadTimeout: 300 * time.Millisecond,
				RequestTimeout: 2 * time.Second, SilenceTimeout: -1, QueueSize: 1 + rng.IntN(200),
				MaxInFlight: 1 << 15,
				DialContext: pipeDial(readsSlowly(t, time.Duration(rng.IntN(20))*time.Millisecond, delayed)),
			})
			m := &mixed{b: b, rng: rng}
			conn := onlyConn(t, b)
			for range 250 {
				m.step(t)
				if rng.IntN(4) == 0 {
					<-time.After(time.Duration(rng.IntN(30)) * time.Millisecond) // virtual
				}
			}
			<-time.After(time.Hour) // virtual
			synctest.Wait()
			s := b.Stats()
			require.Equal(t, m.open, m.told.Load())
			require.Zero(t, s.InFlight, "seed %d", seed)
			require.Zero(t, s.Orphans, "seed %d", seed)
			require.Zero(t, conn.out.unanswered(), "seed %d, bound %d", seed, bound)
			require.EqualValues(t, 1, s.Dials)
		})
	}
}

// The same over a socket, where a lone caller reads its own reply, and a submitter writes.
func TestWhenAllIsAnsweredOverASocketNothingIsUnanswered(t *testing.T) {
	p := newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		if d := time.Duration(binary.BigEndian.Uint32(req)) * time.Millisecond; d > 0 {
			time.AfterFunc(d, func() { c.reply(id, req[:8]) })
			return
		}
		c.reply(id, req[:8])
	})
	b := newBroker(t, Config{
		Addrs: []string{p.addr()}, MaxInFlightBytes: 20_000, ReadTimeout: 10 * time.Millisecond,
		SilenceTimeout: -1, WaitQueue: true, MaxInFlight: 1 << 15,
	})
	conn := onlyConn(t, b)
	var callers sync.WaitGroup
	for i := range uint64(8) {
		callers.Go(func() {
			rng := rand.New(rand.NewPCG(i, 7))
			for range 200 {
				req := make([]byte, 8+rng.IntN(3000))
				if rng.IntN(4) == 0 {
					binary.BigEndian.PutUint32(req, uint32(rng.IntN(30)))
				}
				ctx, cancel := context.WithTimeout(bg, time.Duration(rng.IntN(20))*time.Millisecond)
				switch rng.IntN(4) {
				case 0:
					_, _ = b.Send(ctx, req)
				case 1:
					_ = b.Go(ctx, req, func([]byte, error) {})
				case 2:
					_ = b.SendBatch(ctx, [][]byte{req, req, req}, func(int, []byte, error) {})
				case 3:
					_, _ = b.Send(bg, req)
				}
				cancel()
			}
		})
	}
	callers.Wait()
	mustCome(t, "the last late reply", func() bool {
		s := b.Stats()
		return s.InFlight == 0 && s.Orphans == 0 && s.Queued == 0
	})
	mustCome(t, "its bytes", func() bool { return conn.out.unanswered() == 0 })
	require.EqualValues(t, 1, b.Stats().Dials)
	require.NotZero(t, b.Stats().LateReplies)
}
