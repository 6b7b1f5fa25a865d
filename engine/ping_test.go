package engine

import (
	"encoding/binary"
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

const silence = time.Second

func TestASlowHandlerIsNotTakenForSilence(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		var asked atomic.Int64
		s := counted(&asked, onWish)
		b := s.inBubble(t, Config{SilenceTimeout: silence})
		_, err := call(b, bg, []byte("in 1m"), Call{Timeout: 2 * time.Minute})
		require.NoError(t, err)
		stats := b.Stats()
		require.Zero(t, stats.Suspected)
		require.EqualValues(t, 1, stats.Dials)
		require.EqualValues(t, 1, asked.Load())
		require.GreaterOrEqual(t, stats.Pings, uint64(time.Minute/silence), "before each SilenceTimeout")
		require.LessOrEqual(t, stats.Pings, uint64(2*time.Minute/silence)+1)
		require.EqualValues(t, s.pings.Load(), stats.Pings)
	})
}

func TestAProcessThatHangsIsTakenForSilentAsSoonAsBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		s := counted(&asked, onWish)
		b := s.inBubble(t, Config{SilenceTimeout: silence})
		begun := time.Now()
		outcome := begin(t, b, "in 1m", Call{Timeout: 2 * time.Minute})
		pass(20 * silence)
		require.Zero(t, b.Stats().Suspected, "it answers pings")
		s.mute.Store(true)
		pass(3*silence/2 + 2*coarse(b))
		require.EqualValues(t, 1, b.Stats().Suspected)
		require.Len(t, s.all(), 2, "it has a successor")
		require.NoError(t, <-outcome, "and costs nobody a call")
		require.Equal(t, time.Minute, time.Since(begun))
	})
}

func TestOnePingIsUnderWayAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &speaker{got: func(p *spoken, id taskid.ID, _ uint32, req []byte) {
			for d := silence * 3 / 4; d < time.Minute; d += silence * 3 / 4 {
				p.after(d, func() { p.ok(1<<20, []byte("push")) }) // it lives, and answers no ping
			}
			p.after(time.Minute, func() { p.ok(id, req) })
		}}
		s.mute.Store(true)
		b := s.inBubble(t, Config{SilenceTimeout: silence})
		require.NoError(t, <-begin(t, b, "x", Call{Timeout: 2 * time.Minute}))
		require.EqualValues(t, 1, s.pings.Load())
		require.EqualValues(t, 1, b.Stats().Pings)
		require.Zero(t, b.Stats().Suspected, "any frame proves that it lives")
	})
}

func TestAPongToAnotherPingIsIgnored(t *testing.T) {
	var k controls
	require.True(t, k.ping())
	require.False(t, k.ping(), "one is under way")
	for _, n := range []uint64{0, 2, ^uint64(0)} {
		k.answered(n)
		require.False(t, k.ping())
	}
	k.answered(1)
	k.answered(0)
	require.True(t, k.ping())
	require.EqualValues(t, 2, k.pinged.Load())
}

func TestAnIdleConnectionIsNotPinged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(speaker)
		b := s.inBubble(t, Config{SilenceTimeout: silence})
		requireServed(t, b, 5)
		pass(time.Hour)
		require.Zero(t, b.Stats().Pings)
		require.True(t, b.clock.asleep.Load(), "nothing is to be watched")
	})
}

// An orphan is asked after once, as a request that has no reply, and not for ever.
func TestOrphansAreNotPingedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		s := counted(&asked, onWish)
		b := s.inBubble(t, Config{SilenceTimeout: silence})
		require.ErrorIs(t, <-begin(t, b, "never", Call{Timeout: 3 * silence}), ErrTimeout)
		pass(time.Second)
		pings := b.Stats().Pings
		pass(time.Hour)
		require.LessOrEqual(t, b.Stats().Pings, pings+1)
		require.EqualValues(t, 1, b.Stats().Orphans)
		require.Zero(t, b.Stats().Suspected)
		require.True(t, b.clock.asleep.Load())
	})
}

func TestWithoutSilenceTimeoutNothingIsPinged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		s := counted(&asked, onWish)
		b := s.inBubble(t, Config{SilenceTimeout: -1})
		require.NoError(t, <-begin(t, b, "in 1m", Call{Timeout: 2 * time.Minute}))
		require.Zero(t, b.Stats().Pings)
	})
}

// Requests are held back while too many bytes are unanswered; a ping is not.
func TestAPingGoesBeforeWhatIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		s := counted(&asked, onWish)
		b := s.inBubble(t, Config{SilenceTimeout: silence, MaxInFlightBytes: 1})
		first := begin(t, b, "in 1m", Call{Timeout: 2 * time.Minute})
		synctest.Wait()
		second := begin(t, b, "mine", Call{Timeout: 2 * time.Minute})
		pass(30 * silence)
		require.EqualValues(t, 1, asked.Load(), "the second is held back")
		require.GreaterOrEqual(t, s.pings.Load(), int64(20))
		require.Zero(t, b.Stats().Suspected)
		require.NoError(t, <-first)
		require.NoError(t, <-second)
	})
}

func TestAPingOfTheServersIsAnsweredWithItsBytes(t *testing.T) {
	for name, cfg := range map[string]Config{"": {}, "held back": {MaxInFlightBytes: 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var pongs []uint64
				b := bubbleBroker(t, withExtension(cfg, pingingServer(&pongs)))
				requireServed(t, b, 1)
				open := begin(t, b, "in 1m", Call{Timeout: 2 * time.Minute})
				waits := begin(t, b, "mine", Call{Timeout: 2 * time.Minute})
				require.NoError(t, <-open)
				require.NoError(t, <-waits)
				pass(time.Minute)
				require.Len(t, pongs, 121, "idle or not")
				for i, n := range pongs {
					require.EqualValues(t, i, n)
				}
			})
		})
	}
}

// A server that sends pings and reads nothing costs one pong and no memory.
func TestAFloodOfPingsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100_000
		var end net.Conn
		b := bubbleBroker(t, Config{Extensions: true, WriteTimeout: -1, DialContext: pipeDial(func(nc net.Conn) {
			end = nc
			_, _ = nc.Read(make([]byte, 13))
			b, _ := framing.Format{}.AppendHello(nil, framing.Hello{Server: true, Version: 1})
			var body [8]byte
			for i := range uint64(n) {
				binary.BigEndian.PutUint64(body[:], i)
				b, _ = framing.Format{}.AppendControl(b, framing.ControlPing, body[:])
			}
			_, _ = nc.Write(b) // and reads nothing meanwhile
		})})
		pass(time.Second)
		require.EqualValues(t, n, b.Stats().FramesIn)
		require.NoError(t, end.SetReadDeadline(time.Now().Add(time.Second)))
		var pongs []uint64
		for r := framing.NewReader(end, framing.Format{}); ; {
			f, err := r.ReadFrame()
			if err != nil {
				break
			}
			require.Equal(t, byte(framing.ControlPong), f.Payload[0])
			pongs = append(pongs, binary.BigEndian.Uint64(f.Payload[1:]))
		}
		require.NotEmpty(t, pongs)
		require.LessOrEqual(t, len(pongs), 2, "one was being written while the others came")
		require.EqualValues(t, n-1, pongs[len(pongs)-1], "the last one is answered")
		require.EqualValues(t, len(pongs), b.Stats().FramesOut)
	})
}

func TestPongsDoNotKeepAConnectionThatIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pongs []uint64
		b := bubbleBroker(t, withExtension(Config{IdleTimeout: 10 * time.Second}, pingingServer(&pongs)))
		requireServed(t, b, 1)
		pass(15 * time.Second)
		assert.Empty(t, b.conns())
		assert.GreaterOrEqual(t, len(pongs), 10)
	})
}

// withExtension has a broker of a bubble speak the extension with a server.
func withExtension(cfg Config, serve func(net.Conn)) Config {
	cfg.Extensions, cfg.DialContext = true, pipeDial(serve)
	return cfg
}

// pingingServer pings each second, and answers as onWish does.
func pingingServer(pongs *[]uint64) func(net.Conn) {
	return func(nc net.Conn) {
		var p *spoken
		farEnd(framing.Format{}, func(f *far, frame framing.Frame) {
			if p == nil {
				p = &spoken{f}
				p.hello()
				p.ping(0)
				for i := range uint64(600) {
					p.after(time.Duration(i+1)*time.Second-time.Millisecond, func() { p.ping(i + 1) })
				}
				return
			}
			if frame.ID == framing.ControlID {
				*pongs = append(*pongs, binary.BigEndian.Uint64(frame.Payload[1:]))
				return
			}
			_, req, _ := framing.ParseRequest(frame.Payload)
			onWish(p, taskid.ID(frame.ID), req)
		})(nc)
	}
}
