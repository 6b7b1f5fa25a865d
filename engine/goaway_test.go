package engine

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// onWish answers "in 5s" after five seconds, "never" never, and all else at once.
func onWish(p *spoken, id taskid.ID, req []byte) {
	var wait string
	if _, err := fmt.Sscanf(string(req), "in %s", &wait); err == nil {
		d, _ := time.ParseDuration(wait)
		p.after(d, func() { p.ok(id, req) })
		return
	}
	if string(req) != "never" {
		p.ok(id, req)
	}
}

// begin makes a call by Go and returns where its error comes.
func begin(t *testing.T, b *Broker, req string, opts ...Call) <-chan error {
	t.Helper()
	outcome := make(chan error, 1)
	require.NoError(t, b.Go(bg, []byte(req), func(_ []byte, err error) { outcome <- err }, opts...))
	return outcome
}

// beginSend makes a call by Send and returns where its error comes.
func beginSend(b *Broker, req string, opts ...Call) <-chan error {
	outcome := make(chan error, 1)
	go func() {
		_, err := b.Send(bg, []byte(req), opts...)
		outcome <- err
	}()
	return outcome
}

func TestGoawayTakesAConnectionOutOfTheRoutesAtOnceAndItsRequestsAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k told
		var asked atomic.Int64
		s := counted(&asked, onWish)
		b := s.inBubble(t, Config{OnDisconnect: k.note("down")})
		requireServed(t, b, 1)
		one, two := begin(t, b, "in 3s"), beginSend(b, "in 4s")
		synctest.Wait()
		c := onlyConn(t, b)
		for range 2 { // a second one means nothing
			s.last().goaway()
			synctest.Wait()
			require.Equal(t, phaseRetiring, c.phase.Load())
			require.NotContains(t, b.routes.Load().conns, c)
		}
		pass(DefaultBackoffBase)
		require.Len(t, s.all(), 2, "it has a successor")
		requireServed(t, b, 10)
		pass(time.Second)
		require.Len(t, b.conns(), 2, "it goes on for its last requests")
		require.Empty(t, one)
		require.NoError(t, <-one)
		require.NoError(t, <-two)
		pass(time.Second)
		require.Len(t, b.conns(), 1, "we have closed it")
		select {
		case <-s.all()[0].gone:
		default:
			t.Error("the server has not seen its end")
		}
		require.EqualValues(t, 13, asked.Load(), "none was made twice")
		stats := b.Stats()
		require.EqualValues(t, 2, stats.Goaways)
		require.Zero(t, stats.ConnsLost, "it was no loss")
		require.Zero(t, stats.Retries+stats.Failed)
		k.mu.Lock()
		defer k.mu.Unlock()
		require.Len(t, k.why, 1)
		require.ErrorIs(t, k.why[0], errGoingAway)
	})
}

func TestAnIdleConnectionThatIsToEndIsClosedAndReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(speaker)
		b := s.inBubble(t, Config{})
		for n := range 5 {
			requireServed(t, b, 1)
			s.last().goaway()
			pass(time.Second)
			require.Len(t, s.all(), n+2)
			require.Len(t, b.conns(), 1)
		}
		require.Zero(t, b.Stats().ConnsLost)
	})
}

func TestOtherAddressesTakeTheTrafficOfTheOneThatGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stays, leaves atomic.Int64
		all := map[string]*speaker{"stays:1": counted(&stays, onWish), "leaves:1": counted(&leaves, onWish)}
		b := speakersOnStage(t, Config{SlowStart: -1}, all, "stays:1", "leaves:1")
		requireServed(t, b, 10)
		require.EqualValues(t, 5, leaves.Load())
		open := begin(t, b, "in 2s")
		open2 := begin(t, b, "in 2s")
		synctest.Wait()
		stays.Store(0)
		leaves.Store(0)
		all["leaves:1"].last().goaway()
		synctest.Wait()
		requireServed(t, b, 20)
		require.GreaterOrEqual(t, stays.Load(), int64(19), "the other gets one at most, on trial")
		require.NoError(t, <-open)
		require.NoError(t, <-open2)
		pass(time.Second)
		requireServed(t, b, 1) // its trial, unless it has had that
		synctest.Wait()        // it is among the others now
		leaves.Store(0)
		requireServed(t, b, 20)
		require.EqualValues(t, 10, leaves.Load(), "it is back, and has answered")
	})
}

// A server that says goaway on each new connection is dialled like one that closes them.
func TestAServerThatSaysGoawayToEachConnectionIsDialledSeldom(t *testing.T) {
	for name, farewell := range map[string]func(*spoken){
		"goaway":          (*spoken).goaway,
		"done":            (*spoken).done,
		"goaway and done": func(p *spoken) { p.goaway(); p.done() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const longest = 4 * time.Second
				s := new(speaker)
				var dials atomic.Int64
				b := bubbleBroker(t, Config{Extensions: true, BackoffMax: longest,
					DialContext: pipeDial(func(nc net.Conn) {
						dials.Add(1)
						before := len(s.all())
						go func() {
							for len(s.all()) == before {
								<-time.After(time.Microsecond) // virtual
							}
							farewell(s.last())
						}()
						s.serve(nc)
					})})
				pass(10 * time.Minute)
				require.LessOrEqual(t, dials.Load(), int64(450), "300 on the average")
				require.GreaterOrEqual(t, dials.Load(), int64(150))
				require.LessOrEqual(t, len(b.conns()), 1)
			})
		})
	}
}

func TestWhatIsUnansweredWhenTheServerIsDoneWasNotExecuted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(speaker)
		var again []string
		s.got = func(p *spoken, id taskid.ID, _ uint32, req []byte) {
			if p == s.all()[0] {
				if string(req) == "mine" {
					p.ok(id, req)
				}
				return
			}
			again = append(again, string(req))
			p.ok(id, req)
		}
		b := s.inBubble(t, Config{ConnectWait: time.Minute})
		requireServed(t, b, 1)
		send := beginSend(b, "send")
		callback, idempotent := begin(t, b, "go"), begin(t, b, "idempotent", Call{Idempotent: true})
		batch := make(chan error, 1)
		go func() {
			batch <- b.SendBatch(bg, [][]byte{[]byte("batch"), []byte("batch")}, func(int, []byte, error) {})
		}()
		synctest.Wait()
		began := time.Now()
		s.last().done()
		err := <-callback
		require.ErrorIs(t, err, ErrConnLost)
		require.ErrorIs(t, err, errDone)
		var op *OpError
		require.ErrorAs(t, err, &op)
		require.False(t, op.Written)
		require.True(t, SafeToRetry(err))
		require.NotContains(t, err.Error(), "may have been received")
		require.NoError(t, <-send)
		require.NoError(t, <-idempotent)
		require.NoError(t, <-batch)
		require.ElementsMatch(t, []string{"send", "idempotent", "batch", "batch"}, again)
		require.LessOrEqual(t, time.Since(began), DefaultBackoffBase)
		require.Zero(t, b.Stats().ConnsLost)
		synctest.Wait()
		select {
		case <-s.all()[0].gone:
		default:
			t.Error("we have not closed")
		}
	})
}

// What the server has begun and answered before done is answered; the rest is made again.
func TestRepliesBeforeDoneCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(speaker)
		var held []func()
		var begun atomic.Int64
		s.got = func(p *spoken, id taskid.ID, _ uint32, req []byte) {
			if p == s.all()[0] && begun.Add(1) > 5 {
				return // not begun
			}
			if p != s.all()[0] {
				p.ok(id, req)
				return
			}
			held = append(held, func() { p.ok(id, req) })
		}
		b := s.inBubble(t, Config{})
		var outcomes []<-chan error
		for range 10 {
			outcomes = append(outcomes, beginSend(b, "x"))
		}
		synctest.Wait()
		p := s.last()
		p.goaway()
		for _, answer := range held {
			answer()
		}
		p.done()
		for _, o := range outcomes {
			require.NoError(t, <-o)
		}
		require.EqualValues(t, 5, b.Stats().Retries)
		require.EqualValues(t, 5, b.Stats().Failed)
	})
}

func TestNothingCountsThatComesAfterDone(t *testing.T) {
	for name, apart := range map[string]bool{"together": false, "apart": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := new(speaker)
				s.got = func(p *spoken, id taskid.ID, _ uint32, req []byte) {
					if p != s.all()[0] {
						p.ok(id, []byte("the second time"))
						return
					}
					frames, _ := p.format.AppendControl(nil, framing.ControlDone, nil)
					done := len(frames)
					frames, _ = p.format.AppendReply(frames, id, []byte("after done"))
					frames, _ = p.format.AppendReply(frames, 1<<20, []byte("push"))
					frames, _ = p.format.AppendControl(frames, framing.ControlGoaway, nil)
					frames = append(frames, 0, 0, 0) // no frame at all
					if apart {
						p.send(frames[:done], nil)
						frames = frames[done:]
					}
					p.send(frames, nil)
				}
				pushes := 0
				b := s.inBubble(t, Config{OnPush: func(string, uint32, []byte) { pushes++ }})
				reply, err := b.Send(bg, []byte("x"))
				require.NoError(t, err)
				require.Equal(t, "the second time", string(reply))
				synctest.Wait()
				require.Zero(t, pushes)
				require.EqualValues(t, 1, b.Stats().Replies)
				require.Zero(t, b.Stats().Goaways)
			})
		})
	}
}

// A goroutine may have read more before it sees that the connection has ended.
func TestAReplyThatIsReadAfterDoneIsNotDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		b := counted(&asked, onWish).inBubble(t, Config{})
		outcome := begin(t, b, "in 1s")
		c := onlyConn(t, b)
		c.standing.done.Store(true)
		pass(2 * time.Second)
		require.Empty(t, outcome)
		c.fail("close", lost(errDone))
		require.True(t, SafeToRetry(<-outcome))
	})
}

func TestDoneWithNothingOpenClosesTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(speaker)
		b := s.inBubble(t, Config{})
		requireServed(t, b, 3)
		s.last().done()
		pass(time.Second)
		require.Len(t, s.all(), 2)
		require.Len(t, b.conns(), 1)
		require.Zero(t, b.Stats().Failed+b.Stats().ConnsLost)
		requireServed(t, b, 3)
	})
}

// An end without done is a loss as ever.
func TestAnEndAfterGoawayWithoutDoneMayHaveExecutedWhatIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &speaker{got: func(*spoken, taskid.ID, uint32, []byte) {}}
		b := s.inBubble(t, Config{})
		outcome := begin(t, b, "x")
		synctest.Wait()
		s.last().goaway()
		synctest.Wait()
		s.last().Close()
		err := <-outcome
		var op *OpError
		require.ErrorAs(t, err, &op)
		require.True(t, op.Written)
		require.False(t, SafeToRetry(err))
	})
}

func TestMalformedFramesEndTheConnectionAndSayWhy(t *testing.T) {
	for name, c := range map[string]struct {
		id      taskid.ID
		payload string
		why     string
	}{
		"no status":         {1 << 20, "", "a reply without a status"},
		"unknown status":    {1 << 20, "\x03x", "a reply with the status 3"},
		"refused, no code":  {1 << 20, "\x01\x00\x00", "without the code"},
		"failed, no code":   {1 << 20, "\x02", "without the code"},
		"no type":           {0, "", "a control frame without a type"},
		"type 0":            {0, "\x00abc", "a control frame without a type"},
		"short ping":        {0, "\x02abc", "a ping or pong of 3 bytes instead of 8"},
		"long pong":         {0, "\x03123456789", "a ping or pong of 9 bytes instead of 8"},
		"second hello":      {0, "\x01rw-x\x01\x01", "a second hello"},
		"own hello":         {0, "\x01rw-x\x00\x01", "a second hello"},
		"to the request":    {taskid.ID(^uint32(0)), "\x07", "a reply with the status 7"},
		"plain reply to it": {taskid.ID(^uint32(0)), "plain", "a reply with the status 112"},
	} {
		t.Run(name, func(t *testing.T) {
			someWays(t, func(t *testing.T, call aWay) {
				s := new(speaker)
				s.got = func(p *spoken, id taskid.ID, _ uint32, req []byte) {
					p.goodThenBad(id, c.id, c.payload, string(req) == "good")
				}
				b := s.inBubble(t, Config{MaxRetries: -1})
				_, err := call(b, bg, []byte("good"))
				require.NoError(t, err, "frames before it are valid")
				b2 := s.inBubble(t, Config{MaxRetries: -1})
				_, err = call(b2, bg, []byte("bad"))
				require.ErrorIs(t, err, ErrConnLost)
				require.ErrorContains(t, err, c.why)
				require.False(t, SafeToRetry(err))
				synctest.Wait()
				require.EqualValues(t, 1, b.Stats().ConnsLost)
			})
		})
	}
}

// goodThenBad sends a good reply, or none, and then a frame with any payload. The ID of all
// ones stands for the request's.
func (p *spoken) goodThenBad(id, bad taskid.ID, payload string, good bool) {
	if bad == taskid.ID(^uint32(0)) {
		bad = id
	}
	var frames []byte
	if good {
		frames, _ = p.format.AppendReply(nil, id, []byte("good"))
	}
	frames, err := p.format.Append(frames, bad, []byte(payload))
	p.send(frames, err)
}

func TestUnknownControlFramesAreCountedAndReachNobody(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		kinds := []byte{0x06, 0x7f, 0x80, 0xff}
		s := &speaker{got: func(p *spoken, id taskid.ID, _ uint32, req []byte) {
			for _, kind := range kinds {
				p.raw(0, []byte{kind})
				p.raw(0, append([]byte{kind}, req...))
			}
			p.ping(5)
			p.control(framing.ControlPong, make([]byte, 8)) // nobody has asked
			p.ok(id, req)
		}}
		b := s.inBubble(t, Config{OnPush: func(string, uint32, []byte) { t.Error("a control frame was pushed") }})
		for range 300 { // more than would be suffered of replies that nobody has asked for
			reply, err := call(b, bg, []byte("x"))
			require.NoError(t, err)
			require.Equal(t, "x", string(reply))
		}
		synctest.Wait()
		stats := b.Stats()
		require.EqualValues(t, 300*8, stats.UnknownControls)
		require.Zero(t, stats.UnknownReplies)
		require.EqualValues(t, 1, stats.Dials)
		assert.Zero(t, s.wrong.Load())
	})
}
