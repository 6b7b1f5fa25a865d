package engine

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// sorted answers n requests at once, in the order of their payloads, and later ones one by
// one.
func sorted(n int) func(net.Conn) {
	var frames []framing.Frame
	return answerWith(func(nc net.Conn, f framing.Frame) {
		f.Payload = slices.Clone(f.Payload)
		if frames = append(frames, f); len(frames) < n {
			return
		}
		slices.SortFunc(frames, func(a, b framing.Frame) int {
			return cmp.Compare(string(a.Payload), string(b.Payload))
		})
		var out []byte
		for _, f := range frames {
			out, _ = framing.Append(out, f.ID, f.Payload)
		}
		frames, n = nil, 0
		nc.Write(out)
	})
}

// handsNothing checks that nobody has anything of a connection in hand.
func handsNothing(t *testing.T, c *conn) {
	t.Helper()
	assert.Zero(t, c.table.InUse(), "slots")
	assert.Zero(t, c.in.returns.Load()%oneReturn, "turns with slots to be given back")
	assert.Zero(t, c.link.owed.Load(), "callbacks that count in MaxInFlight")
	assert.Zero(t, c.in.detained.Load(), "their slots")
	assert.Zero(t, c.b.callbacks.running.Load(), "goroutines in callbacks")
	assert.Empty(t, c.b.callbacks.others, "goroutines in callbacks")
	o := &c.out
	assert.Equal(t, o.sent.bytes.Load(), o.credit.answered.Load()+o.credit.returned.Load(), "bytes given back")
	assert.Zero(t, c.in.got.unknown.Load(), "replies taken twice")
}

// Callers that block, a callback that blocks, and callbacks behind it have their replies in
// one read.
func TestWhoHasLostItsTurnGivesBackWhatItHas(t *testing.T) {
	for _, end := range []struct {
		name string
		end  func()
	}{
		{"returns", func() {}},
		{"panics", func() { panic("on purpose") }},
		{"exits", runtime.Goexit},
	} {
		t.Run(end.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const callers, behind, most = 4, 4, 16
				b := bubbleBroker(t, Config{
					MaxInFlight: most, DialContext: pipeDial(sorted(callers + 1 + behind)),
				})
				g := newTurnstile()
				t.Cleanup(g.release)
				c := onlyConn(t, b)
				returned := make(chan error, callers)
				for range callers {
					go func() {
						_, err := b.Send(bg, []byte("a"))
						returned <- err
					}()
				}
				synctest.Wait()
				ran := make(chan string, behind+1)
				run := func(reply []byte, _ error) { ran <- string(reply) }
				require.NoError(t, b.Go(bg, []byte("b"), func(reply []byte, err error) {
					<-g.open
					run(reply, err)
					end.end()
				}))
				for i := range behind {
					require.NoError(t, b.Go(bg, fmt.Appendf(nil, "c%d", i), run))
				}
				for range callers {
					require.NoError(t, <-returned)
				}
				for i := range behind {
					require.Equal(t, fmt.Sprintf("c%d", i), <-ran, "others go on, in their order")
				}
				synctest.Wait()
				assert.Equal(t, 1, c.table.InUse(), "it counts in MaxInFlight, by its slot")
				assert.Zero(t, c.link.owed.Load(), "and not twice")
				assert.Zero(t, c.open(), "nothing is open")
				assert.Zero(t, c.unanswered())
				g.release()
				require.Equal(t, "b", <-ran)
				synctest.Wait()
				handsNothing(t, c)
				assert.EqualValues(t, callers+1+behind, b.Stats().Replies)
				_, err := b.Send(bg, []byte("d"))
				require.NoError(t, err)
			})
		})
	}
}

// A callback that has used its request's slot for another one counts all the same.
func TestACallbackThatBlocksAfterItsFirstGoKeepsItsPlace(t *testing.T) {
	skipUnlessTold(t)
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBroker(t, Config{DialContext: pipeDial(answerWith(unlessQuiet)), ReadTimeout: -1})
		g := newTurnstile()
		t.Cleanup(g.release)
		c := onlyConn(t, b)
		failed := make(chan error, 1)
		require.NoError(t, b.Go(bg, []byte("x"), func([]byte, error) {
			assert.NoError(t, b.Go(bg, noReply, func(_ []byte, err error) { failed <- err }))
			<-g.open
		}))
		time.Sleep(callbackPatience * 3 / 2)
		synctest.Wait()
		assert.Equal(t, 1, c.open(), "the request it has made")
		assert.Equal(t, 1, c.table.InUse())
		assert.EqualValues(t, 1, c.link.owed.Load(), "itself")
		g.release()
		synctest.Wait()
		assert.Zero(t, c.link.owed.Load())
		assert.Equal(t, 1, c.open())
		require.NoError(t, b.Close())
		require.Error(t, <-failed)
	})
}

// OnPush has no slot, whatever ID its frame has.
func TestAnOnPushThatBlocksHasNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTurnstile()
		t.Cleanup(g.release)
		b := bubbleBroker(t, Config{
			OnPush: func(string, uint32, []byte) { <-g.open },
			DialContext: pipeDial(answerWith(func(nc net.Conn, f framing.Frame) {
				out, _ := framing.Append(nil, f.ID, f.Payload)
				out, _ = framing.Append(out, f.ID, nil) // a push with the ID of a slot that is free
				nc.Write(out)
			})),
		})
		c := onlyConn(t, b)
		require.NoError(t, goAndWait(b, bg))
		time.Sleep(callbackPatience * 3 / 2)
		synctest.Wait()
		assert.Zero(t, c.in.detained.Load())
		assert.EqualValues(t, 1, c.link.owed.Load())
		g.release()
		synctest.Wait()
		handsNothing(t, c)
	})
}

func TestACallbackThatExitsOnGuardGivesBackWhatItsTurnHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBroker(t, Config{DialContext: pipeDial(sorted(2))})
		c := onlyConn(t, b)
		ran := make(chan string, 1)
		require.NoError(t, b.Go(bg, []byte("a"), func([]byte, error) { runtime.Goexit() }))
		require.NoError(t, b.Go(bg, []byte("b"), func(reply []byte, _ error) { ran <- string(reply) }))
		require.Equal(t, "b", <-ran)
		synctest.Wait()
		handsNothing(t, c)
		assert.EqualValues(t, 2, b.Stats().Replies)
	})
}

// What was dispatched before the callback that blocks is counted, and its bytes are given
// back, while it blocks; itself when it has returned, though its connection is gone.
func TestNothingIsLostToTheCountsByACallbackThatOutlivesItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const before, behind = 5, 3
		p := &pipes{serve: sorted(before + 1 + behind)}
		b := bubbleBroker(t, Config{DialContext: p.dial})
		g := newTurnstile()
		t.Cleanup(g.release)
		c := onlyConn(t, b)
		none := func([]byte, error) {}
		for range before {
			require.NoError(t, b.Go(bg, []byte("a"), none))
		}
		require.NoError(t, b.Go(bg, []byte("b"), func([]byte, error) { <-g.open }))
		for range behind {
			require.NoError(t, b.Go(bg, []byte("c"), none))
		}
		time.Sleep(callbackPatience * 3 / 2)
		synctest.Wait()
		assert.EqualValues(t, before+behind, b.Stats().Replies)
		o := &c.out
		assert.EqualValues(t, o.sent.bytes.Load()/(before+1+behind),
			o.sent.bytes.Load()-o.credit.answered.Load(), "bytes of the request whose callback blocks")
		p.cut()
		for c.phase.Load() != phaseGone {
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		assert.EqualValues(t, before+behind, b.Stats().Replies)
		g.release()
		synctest.Wait()
		assert.EqualValues(t, before+1+behind, b.Stats().Replies)
		assert.EqualValues(t, before+1+behind, b.Stats().Accepted)
		assert.EqualValues(t, before+1+behind, b.Stats().FramesIn)
		assert.EqualValues(t, before+1+behind, b.AddrStats()[0].Replies)
		handsNothing(t, c)
	})
}

// Many turns whose words differ in the count only, each on guard when the clock looks.
func TestShortCallbacksInARowAreNotTakenForOneThatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &journal{}
		b := bubbleBroker(t, Config{Logger: slog.New(log), DialContext: pipeDial(sorted(1))})
		done := make(chan struct{})
		turns := 0
		var next func([]byte, error)
		next = func([]byte, error) {
			time.Sleep(callbackPatience / 2)
			if turns++; turns == 10 {
				close(done)
				return
			}
			assert.NoError(t, b.Go(bg, []byte("x"), next))
		}
		require.NoError(t, b.Go(bg, []byte("x"), next))
		<-done
		synctest.Wait()
		assert.Zero(t, log.about(slog.LevelWarn, "callback"))
	})
}

// The turn after one that was taken away begins to count anew, so its word is the same.
func TestTheCallbackAfterOneThatBlocksHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &journal{}
		b := bubbleBroker(t, Config{Logger: slog.New(log), DialContext: pipeDial(sorted(1))})
		g := newTurnstile()
		t.Cleanup(g.release)
		require.NoError(t, b.Go(bg, []byte("x"), func([]byte, error) { <-g.open }))
		time.Sleep(callbackPatience * 3 / 2)
		require.Equal(t, 1, log.about(slog.LevelWarn, "callback"))
		done := make(chan struct{})
		require.NoError(t, b.Go(bg, []byte("x"), func([]byte, error) {
			time.Sleep(callbackPatience / 2)
			close(done)
		}))
		<-done
		synctest.Wait()
		assert.Equal(t, 1, log.about(slog.LevelWarn, "callback"))
	})
}

func TestATurnThatMovedOnIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBroker(t, Config{DialContext: pipeDial(sorted(1))})
		c := onlyConn(t, b)
		c.in.turn.Load().caller.Store(7)
		require.False(t, c.takeOver(c.in.turn.Load(), onGuard))
		c.in.turn.Load().caller.Store(0)
		handsNothing(t, c)
	})
}

func TestATurnOwnsEachFrameOrNothingBehindIt(t *testing.T) {
	turn, c := new(turn), new(conn)
	turn.b = make([]byte, 100)
	require.True(t, c.advance(turn, 10), "off guard nobody takes it")
	turn.guards++
	turn.guard = turn.tell(0, 0)
	turn.word.Store(turn.guard)
	require.True(t, c.advance(turn, 20))
	assert.EqualValues(t, 30, turn.word.Load()>>turnUsed, "where the rest begins")
	word := turn.word.Load()
	require.True(t, c.advance(turn, 20))
	require.False(t, turn.word.CompareAndSwap(word, turnTaking), "the clock was slower")
	require.True(t, turn.word.CompareAndSwap(turn.word.Load(), turnTaking))
	require.False(t, c.advance(turn, 20))
	require.False(t, c.standDown(turn))
	assert.EqualValues(t, 3, turn.tally.frames)
}

// What waits is moved on when a callback has left its slot, by the goroutine whose callback
// it was: that is no Go of the callback.
func TestWhatWaitsDoesNotTakeTheSlotOfACallbackThatHasReturned(t *testing.T) {
	skipUnlessTold(t)
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBroker(t, Config{
			MaxInFlight: freedMax - 1, QueueSize: freedMax - 1, DialContext: pipeDial(sorted(1)),
		})
		c := onlyConn(t, b)
		ran := make(chan struct{})
		require.NoError(t, b.Go(bg, []byte("x"), func([]byte, error) {
			r := request{payload: []byte("y"), to: plainCallback(func([]byte, error) { close(ran) })}
			r.deadline = taskid.NoTick
			assert.True(t, b.backlog.pushAnyway(&r, 0))
		}))
		<-ran
		synctest.Wait()
		handsNothing(t, c)
	})
}

// More slots are left by callbacks than a turn collects, on guard, off guard and in between.
func TestATurnGivesBackAnyNumberOfSlots(t *testing.T) {
	for _, between := range []int{0, 1, 5} {
		synctest.Test(t, func(t *testing.T) {
			const n = 5*freedMax + 7
			var out []byte
			got := 0
			b := bubbleBroker(t, Config{DialContext: pipeDial(answerWith(func(nc net.Conn, f framing.Frame) {
				out, _ = framing.Append(out, f.ID, nil)
				if got++; between > 0 && got%between == 0 {
					out, _ = framing.Append(out, f.ID, nil) // answers nothing, so the turn is off guard
				}
				if got == n {
					nc.Write(out)
				}
			}))})
			c := onlyConn(t, b)
			left := n
			for range n {
				require.NoError(t, b.Go(bg, nil, func([]byte, error) { left-- }))
			}
			synctest.Wait()
			require.Zero(t, left)
			assert.Zero(t, c.table.InUse())
			assert.Zero(t, c.in.returns.Load()%oneReturn)
		})
	}
}

// The same with a write in the middle of the turn after each callback.
func TestATurnThatStandsDownAfterEachCallbackGivesBackAnyNumberOfSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBroker(t, Config{DialContext: pipeDial(drainOnly)})
		c := onlyConn(t, b)
		const n = 5 * freedMax
		turn := &turn{b: make([]byte, n)}
		for range n {
			require.True(t, c.advance(turn, 1))
			c.enterCallback(turn, turn.used-1, 0)
			_, turn.spare = c.table.Acquire()
			c.callbackDone(turn)
			require.True(t, c.standDown(turn))
		}
		c.freeAll(turn)
		turn.caller.Store(0)
		b.callbacks.running.Store(0)
		handsNothing(t, c)
	})
}

func TestWhatAnswersNothingIsCountedBetweenCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBroker(t, Config{DialContext: pipeDial(answerWith(func(nc net.Conn, f framing.Frame) {
			out, _ := framing.Append(nil, f.ID, f.Payload)
			for range 3 { // the first one is the reply
				out, _ = framing.Append(out, f.ID, nil)
			}
			nc.Write(out)
		}))})
		c := onlyConn(t, b)
		require.NoError(t, goAndWait(b, bg))
		synctest.Wait()
		assert.EqualValues(t, 3, b.Stats().UnknownReplies)
		assert.Zero(t, c.table.InUse())
	})
}
