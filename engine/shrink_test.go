package engine

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/bytepool"
)

// requireAllBack checks that as many large buffers are lent as were. Without the build tag
// invariant nobody counts them.
func requireAllBack(t *testing.T, lent int) {
	t.Helper()
	require.Equal(t, lent, bytepool.Outstanding())
}

// requireSmall checks that the inbox, on which nobody reads now, has its own buffer again.
func requireSmall(t *testing.T, c *conn) {
	t.Helper()
	buf := &c.in.buf
	require.Nil(t, buf.large)
	require.Len(t, buf.b, readBytes)
	require.Same(t, &buf.base[0], &buf.b[0])
}

// bigReplies answers with as many bytes as the request asks for.
func bigReplies(p *far, f framing.Frame) {
	var n int
	_, _ = fmt.Sscan(string(f.Payload), &n)
	p.reply(f.ID, make([]byte, n))
}

func TestTheReadBufferIsSmallAgainAfterALargeReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBroker(t, Config{Framing: wide, DialContext: pipeDial(farEnd(wide, bigReplies))})
		conn := onlyConn(t, b)
		lent := bytepool.Outstanding()
		for i, n := range []int{10, readBytes - 9, readBytes - 8, readBytes, 200_000, 10, 8 << 20, 16<<20 - 4} {
			for _, w := range ways[:len(ways)-i/2] {
				reply, err := w.call(b, bg, fmt.Append(nil, n))
				require.NoError(t, err)
				require.Len(t, reply, n)
			}
			synctest.Wait()
			requireSmall(t, conn)
			requireAllBack(t, lent)
		}
	})
}

// With the end of a large reply comes the beginning of another one, large or small, in the
// same read.
func TestTheReadBufferShrinksBetweenLargeRepliesThatComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sizes := []int{100, 2 << 20, 50, 300_000, 70_000, 0, 1 << 20, 60_000, 2 << 20, 7}
		var stream []byte
		got := 0
		b := bubbleBroker(t, Config{
			Framing: wide, RequestTimeout: -1,
			DialContext: pipeDial(farEnd(wide, func(p *far, f framing.Frame) {
				stream, _ = wide.Append(stream, f.ID, make([]byte, sizes[got]))
				if got++; got == len(sizes) {
					p.trickle(stream, 100_000, time.Millisecond)
				}
			})),
		})
		conn := onlyConn(t, b)
		lent := bytepool.Outstanding()
		var calls sync.WaitGroup
		for _, size := range sizes {
			calls.Go(func() {
				reply, err := b.Send(bg, nil)
				if err != nil || len(reply) != size {
					t.Errorf("%d bytes, error %v, want %d bytes", len(reply), err, size)
				}
			})
			synctest.Wait()
		}
		calls.Wait()
		synctest.Wait()
		requireSmall(t, conn)
		requireAllBack(t, lent)
	})
}

// What a connection has borrowed comes back although it ends in the middle of a reply, of a
// request, or with requests that wait.
func TestALargeReplyThatIsCutShortLeavesNoBufferBehind(t *testing.T) {
	for i, sent := range []int{3, 8, 100, readBytes, 1 << 20, 2<<20 + 7} {
		t.Run(fmt.Sprintf("sent=%d", sent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lent := bytepool.Outstanding()
				b := bubbleBroker(t, Config{
					Framing: wide, BackoffBase: 1e6 * time.Hour, BackoffMax: 1e6 * time.Hour,
					MaxInFlightBytes: 2 << 20,
					DialContext: pipeDial(farEnd(wide, func(p *far, f framing.Frame) {
						if len(f.Payload) > 0 {
							return
						}
						frame, _ := wide.Append(nil, f.ID, make([]byte, 2<<20))
						p.work <- func() {
							_, _ = p.Write(frame[:sent])
							p.Close()
						}
					})),
				})
				ready(t, b)
				errs := make(chan error, 10)
				fn := func(_ []byte, err error) { errs <- err }
				for j := range cap(errs) { // more than MaxInFlightBytes lets out
					size := 700_000
					if j == i%3 {
						size = 0
					}
					require.NoError(t, b.Go(bg, make([]byte, size), fn))
				}
				<-time.After(time.Minute) // virtual: what was not written fails in the end
				for range cap(errs) {
					require.Error(t, <-errs)
				}
				require.EqualValues(t, 1, b.Stats().ConnsLost)
				require.NoError(t, b.Close())
				synctest.Wait()
				requireAllBack(t, lent)
			})
		})
	}
}

func TestALargeReplyOverASocketLeavesTheReadBufferSmall(t *testing.T) {
	p := newPeer(t, echo)
	b := newBroker(t, Config{Addrs: []string{p.addr()}})
	conn := onlyConn(t, b)
	lent := bytepool.Outstanding()
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for j := range 50 {
				n := (i*37 + j*1319) % framing.MaxPayload
				reply, err := b.Send(bg, make([]byte, n))
				if err != nil || len(reply) != n {
					t.Errorf("%d bytes, error %v, want %d bytes", len(reply), err, n)
				}
			}
		})
	}
	callers.Wait()
	mustCome(t, "all buffers", func() bool { return bytepool.Outstanding() == lent })
	require.NoError(t, b.Close())
	requireSmall(t, conn)
	requireAllBack(t, lent)
}

// A callback that blocks keeps the buffer that its reply lies in until it returns, however it does.
func TestALargeReplyWhoseCallbackBlocksLeavesNoBufferBehind(t *testing.T) {
	for name, end := range map[string]func(){"return": func() {}, "Goexit": runtime.Goexit, "panic": func() { panic("over") }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bubbleBroker(t, Config{Framing: wide, DialContext: pipeDial(farEnd(wide, bigReplies))})
				conn := onlyConn(t, b)
				lent := bytepool.Outstanding()
				g := newTurnstile()
				t.Cleanup(g.release)
				whole := make(chan bool, 1)
				require.NoError(t, b.Go(bg, []byte("200000"), func(reply []byte, err error) {
					<-g.open
					whole <- err == nil && bytes.Equal(reply, make([]byte, 200_000))
					end()
				}))
				time.Sleep(callbackPatience * 3 / 2) // others read meanwhile
				for range 3 {
					reply, err := b.Send(bg, []byte("300000"))
					require.NoError(t, err)
					require.Len(t, reply, 300_000)
				}
				g.release()
				require.True(t, <-whole, "the bytes were its own")
				synctest.Wait()
				requireSmall(t, conn)
				requireAllBack(t, lent)
			})
		})
	}
}
