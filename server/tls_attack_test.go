package server

import (
	"bytes"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// shredder writes in pieces of any size, now and then after a moment. A seed makes it repeatable.
type shredder struct {
	net.Conn
	rng  *rand.Rand
	most int // bytes of a piece
}

func (s *shredder) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		m := min(1+s.rng.IntN(s.most), len(p)-n)
		_, err = s.Conn.Write(p[n : n+m])
		n += m
		if s.rng.IntN(4) == 0 {
			<-time.After(time.Duration(s.rng.IntN(200)) * time.Microsecond)
		}
	}
	return n, err
}

// However the records are cut, in both versions, from the handshake on, each request has its reply.
func TestTLSRecordsInPieces(t *testing.T) {
	for version, number := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		for _, workers := range []int{0, 3} {
			t.Run(version, func(t *testing.T) {
				x := launchTLS(t, func(_ *site, cfg *Config) {
					cfg.TLS.MinVersion, cfg.TLS.MaxVersion, cfg.Workers = tls.VersionTLS12, number, workers
				})
				seed := rand.Uint64()
				t.Log("seed", seed)
				good := x.good(t)
				var all sync.WaitGroup
				defer all.Wait()
				for who := range 4 {
					below := x.silent(t)
					require.NoError(t, below.nc.SetDeadline(time.Now().Add(5*patienceMax))) // it may write byte by byte
					all.Go(func() {
						rng := rand.New(rand.NewPCG(seed, uint64(who)))
						tc := tls.Client(&shredder{below.nc, rng, 1 + rng.IntN(3000)}, good)
						c := &client{t: t, nc: tc, format: x.format}
						assert.NoError(t, x.pieces(c, rng), "seed %d, %d", seed, who)
					})
				}
			})
		}
	}
}

// A client that is gone within a record has sent half of something, as one that is gone within a frame; one
// that is gone between two, though it has not said so, has ended as others do.
func TestAnEndWithinATLSRecordIsTruncated(t *testing.T) {
	for name, tc := range map[string]struct {
		rest []byte
		want Closed
	}{
		"within its header":  {[]byte{23, 3, 3}, Closed{Truncated: 1}},
		"within its body":    {append([]byte{23, 3, 3, 0, 100}, make([]byte, 10)...), Closed{Truncated: 1}},
		"between two":        {nil, Closed{Peer: 1}},
		"without any record": {nil, Closed{Peer: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			x := launchTLS(t, nil)
			c := x.enter(t, x.good(t))
			if name != "without any record" {
				c.call(1, []byte("x"))
			}
			below := c.nc.(*tls.Conn).NetConn()
			_, err := below.Write(tc.rest)
			require.NoError(t, err)
			require.NoError(t, c.tcp().CloseWrite())
			eventually(t, x.Server, "the end", func(st Stats) bool { return st.Closed.Total() == 1 })
			assert.Equal(t, tc.want, x.Stats().Closed)
		})
	}
}

// pieces sends requests of any size, several at a time, and compares what comes back.
func (x *site) pieces(c *client, rng *rand.Rand) error {
	in := framing.NewReader(c.nc, x.format)
	for range 20 {
		var out []byte
		want := map[uint32][]byte{}
		for id := range uint32(1 + rng.IntN(8)) {
			p := bytes.Repeat([]byte{byte(rng.Uint32())}, rng.IntN(1<<rng.IntN(16)))
			want[id+1] = p
			var err error
			if out, err = x.format.Append(out, taskid.ID(id+1), p); err != nil {
				return err
			}
		}
		if _, err := c.nc.Write(out); err != nil {
			return err
		}
		for len(want) > 0 {
			f, err := in.ReadFrame()
			if err != nil {
				return err
			}
			if !assert.Equal(c.t, want[uint32(f.ID)], append([]byte{}, f.Payload...)) {
				return nil
			}
			delete(want, uint32(f.ID))
		}
	}
	return nil
}

// A client may be reset at any byte of its handshake. Nothing is left of it.
func TestResetsDuringTheHandshake(t *testing.T) {
	x := launchTLS(t, nil)
	good := x.good(t)
	for n := 0; n < 2000; n += 1 + rand.IntN(120) {
		c := x.silent(t)
		_ = tls.Client(&cutOff{c.nc, n}, good).Handshake()
		_ = c.tcp().SetLinger(0)
		_ = c.nc.Close()
	}
	x.shakingNow(t, 0)
	eventually(t, x.Server, "their ends", func(st Stats) bool { return st.Conns == 0 })
	assert.Empty(t, x.shaking.compute)
	x.enter(t, good).call(1, []byte("hello"))
	assert.EqualValues(t, 1, x.handled.Load())
}

// cutOff writes so many bytes, and then fails.
type cutOff struct {
	net.Conn
	left int
}

func (c *cutOff) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	_, err := c.Conn.Write(p[:n])
	if err == nil && n < len(p) {
		err = net.ErrClosed
	}
	return n, err
}

// A client that damages a record behind the handshake loses its connection, and no handler sees
// a byte of it.
func TestADamagedRecordEndsTheConnection(t *testing.T) {
	x := launchTLS(t, nil)
	below := x.silent(t)
	bad := &damaging{Conn: below.nc}
	c, err := x.over(t, bad, x.good(t))
	require.NoError(t, err)
	c.call(1, []byte("whole"))
	bad.on = true
	c.send(2, []byte("damaged"))
	assert.Zero(t, c.closed())
	eventually(t, x.Server, "the end", func(st Stats) bool { return st.Closed.Total() == 1 })
	assert.EqualValues(t, 1, x.handled.Load())
}

type damaging struct {
	net.Conn
	on bool
}

func (d *damaging) Write(p []byte) (int, error) {
	if d.on {
		p = bytes.Clone(p)
		p[len(p)-1] ^= 1
	}
	return d.Conn.Write(p)
}
