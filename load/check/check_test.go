package check

import (
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/internal/testca"
	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secret stands in payloads and must not be shown.
const secret = "4000123412341234"

// backend answers the frames of a framing, and only those: what is no whole frame is
// waited for or closes the connection. nil: it closes.
func backend(t *testing.T, s wire.Spec, answer func(frame []byte) []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return backendOn(t, l, s, answer)
}

func backendOn(t *testing.T, l net.Listener, s wire.Spec, answer func(frame []byte) []byte) string {
	s.MaxFrame = 4096
	codec, err := wire.New(s)
	require.NoError(t, err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			wg.Go(func() {
				defer func() { _ = conn.Close() }()
				dec := wire.NewDecoder(codec)
				for {
					n, err := conn.Read(dec.Room())
					dec.Filled(n)
					for {
						f, bad := dec.Next()
						if bad != nil {
							return
						}
						if f == nil {
							break
						}
						reply := answer(f.Bytes)
						if reply == nil {
							return
						}
						_, _ = conn.Write(reply)
					}
					if err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

func preset(t *testing.T, name string) wire.Spec {
	t.Helper()
	s, err := wire.Preset(name)
	require.NoError(t, err)
	return s
}

// hsm answers "NC" + anything in a framing with "ND" and a status, the header as it came,
// and what is no such command not at all.
func hsm(s wire.Spec, status string) func([]byte) []byte {
	codec, err := wire.New(s)
	if err != nil {
		panic(err)
	}
	at := max(s.Length.End(), s.ID.End())
	return func(frame []byte) []byte {
		if !strings.HasPrefix(string(frame[at:]), "NC") {
			return nil
		}
		id, _ := s.ID.Get(frame)
		reply, err := codec.Append(nil, id, []byte("ND"+status))
		if err != nil {
			return nil
		}
		copy(reply[s.ID.Offset:s.ID.End()], frame[s.ID.Offset:s.ID.End()])
		return reply
	}
}

func config(t *testing.T, addr string, s wire.Spec, change func(*request.Kind)) load.Config {
	t.Helper()
	target, err := load.ParseTarget(addr)
	require.NoError(t, err)
	codec, err := wire.New(s)
	require.NoError(t, err)
	k := request.Kind{Name: "nc", Weight: 1, Source: request.Bytes("NC" + secret)}
	if change != nil {
		change(&k)
	}
	mix, err := request.NewMix([]request.Kind{k})
	require.NoError(t, err)
	cfg := load.Config{Targets: []load.Target{target}, Codec: codec, Mix: mix, Conns: 1, InFlight: 1, Requests: 1, Timeout: 400 * time.Millisecond}
	require.NoError(t, cfg.Validate())
	return cfg
}

func check(t *testing.T, cfg load.Config) *Report {
	t.Helper()
	r := Run(t.Context(), cfg)
	assert.NotContains(t, r.String(), secret[:8])
	assert.NotContains(t, r.String(), "34 30 30 30 31 32", "nor in hex")
	return r
}

func TestARightSettingIsFineAndShownFieldByField(t *testing.T) {
	s := preset(t, "payshield")
	cfg := config(t, backend(t, s, hsm(s, "00")), s, func(k *request.Kind) {
		k.Status = request.Status{Offset: 8, Len: 2, OK: [][]byte{[]byte("00")}}
	})
	r := check(t, cfg)
	require.Equal(t, Fine, r.Statement, r)
	assert.Empty(t, r.Proposal)
	flat := strings.Join(strings.Fields(r.String()), " ")
	for _, want := range []string{
		"sent nc: 24 bytes 0 length 00 16 a frame of 24 bytes 2 id", "form base36 6 payload 18 bytes, not shown",
		"10 bytes 0 length 00 08", "6 payload 2 bytes, not shown 8 status 30 30 ok", "check fine: 1 of 1 requests answered as expected",
	} {
		assert.Contains(t, flat, want)
	}
}

func TestEachWrongSettingHasItsStatementAndAProposal(t *testing.T) {
	two := preset(t, "payshield")
	length := func(size int, form wire.Form, adjust int) wire.Spec {
		s := two
		s.Length.Size, s.Length.Form, s.Adjust = size, form, adjust
		s.ID.Offset, s.ReplyID = size, size
		return s
	}
	fields := func(idOff, replyOff int, form wire.Form) wire.Spec {
		s := two
		s.ID.Offset, s.ReplyID, s.ID.Form = idOff, replyOff, form
		return s
	}
	for name, c := range map[string]struct {
		real      wire.Spec // the backend's
		statement Statement
		verdict   string
		proposal  string
	}{
		"length of four bytes":      {length(4, wire.Big, 0), Nothing, "nothing came for a request of 24 bytes", "--len off=0,len=4,form=be --len-adj 0 --id off=4,len=4,form=base36"},
		"length in ASCII":           {length(4, wire.Decimal, 0), Nothing, "nothing came", "--len off=0,len=4,form=dec"},
		"length in the other order": {length(2, wire.Little, 0), Nothing, "nothing came", "--len off=0,len=2,form=le"},
		"length that counts itself": {length(2, wire.Big, -2), NoFrame, "10 bytes came that are no frame: their length field, 00 0a, says 12 bytes", "--len off=0,len=2,form=be --len-adj -2"},
		"reply's ID elsewhere":      {two, NoMatch, "a frame of 14 bytes came and is not the reply: its ID, at 2, is", "--resp-id 8: the request's ID is there"},
		"silent peer":               {two, Nothing, "nothing came for a request of 24 bytes in 4", "a request that the backend answers (--data): "},
		"peer that closes":          {two, Nothing, "and the connection ended after", "other framings were tried"},
		"other length in the reply": {two, NoFrame, "14 bytes came that are no frame: their length field, 30 30, says 12338 bytes, and nothing more", "--len off=0,len=4,form=dec"},
		"cut off reply":             {two, NoFrame, "their length field, 00 99, says 155 bytes, and nothing more", "another --len"},
		"HTTP server":               {two, NoFrame, "their length field, 48 54, says", "another port: it looks like an HTTP server"},
		"no ID in the reply":        {two, NoMatch, "its ID, at 2, is 39 39 39 39", "--id none"},
		"ID behind the command":     {fields(8, 8, wire.Base36), NoMatch, "a frame of 14 bytes came and is not the reply", "--id off=8,len=4,form=base36"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := hsm(c.real, "00")
			switch name {
			case "reply's ID elsewhere":
				answer = func(frame []byte) []byte { return append([]byte("\x00\x0cNDND00"), append(frame[2:6:6], "--"...)...) }
			case "silent peer":
				answer = func([]byte) []byte { return []byte{} }
			case "peer that closes":
				answer = func([]byte) []byte { return nil }
			case "other length in the reply":
				answer = func(frame []byte) []byte { return append([]byte("0010"), append(frame[2:6:6], "ND00..."...)[:10]...) }
			case "cut off reply":
				answer = func([]byte) []byte { return []byte("\x00\x99abc") }
			case "HTTP server":
				answer = func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }
			case "no ID in the reply":
				answer = func([]byte) []byte { return []byte("\x00\x089999ND00") }
			case "ID behind the command":
				// It repeats what stands at 8, and puts words of its own before it.
				answer = func(frame []byte) []byte { return append([]byte("\x00\x0c::::::"), append(frame[8:12:12], "00"...)...) }
			}
			r := check(t, config(t, backend(t, c.real, answer), two, nil))
			assert.Equal(t, c.statement, r.Statement, r)
			assert.Contains(t, r.Verdict, c.verdict)
			assert.Contains(t, r.Proposal, c.proposal)
		})
	}
}

func TestARefusedOrUnexpectedReplyIsSo(t *testing.T) {
	s := preset(t, "payshield")
	addr := backend(t, s, hsm(s, "68"))
	status := func(offset int) func(*request.Kind) {
		return func(k *request.Kind) {
			k.Status = request.Status{Offset: offset, Len: 2, OK: [][]byte{[]byte("00")}}
		}
	}
	r := check(t, config(t, addr, s, status(8)))
	assert.Equal(t, Refused, r.Statement)
	assert.Equal(t, "nc: the reply came and was refused: status 68 at 8", r.Verdict)
	assert.Contains(t, r.Proposal, "--ok 68")
	r = check(t, config(t, addr, s, status(9)))
	assert.Equal(t, Refused, r.Statement)
	assert.Contains(t, r.Verdict, "has no status: it has 10 bytes, and the status would be at 9 to 10")
	r = check(t, config(t, addr, s, func(k *request.Kind) { k.Expect, _ = request.ParseExpect("echo") }))
	assert.Equal(t, Refused, r.Statement)
	assert.Contains(t, r.Verdict, "its payload has 4 bytes, the request's 18")
}

func TestAConnectionThatCannotBeMadeIsSaid(t *testing.T) {
	s := preset(t, "payshield")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	r := check(t, config(t, l.Addr().String(), s, nil))
	assert.Equal(t, Nothing, r.Statement)
	assert.Equal(t, "no connection to "+l.Addr().String()+": connection refused", r.Verdict)
	assert.Contains(t, r.Proposal, "another port")
}

func TestTLSWhereThereIsNoneAndTheOtherWayRound(t *testing.T) {
	s := preset(t, "payshield")
	plain := backend(t, s, hsm(s, "00"))
	cfg := config(t, "tls://"+plain, s, nil)
	r := check(t, cfg)
	assert.Equal(t, Nothing, r.Statement)
	assert.Contains(t, r.Verdict, "no connection to tls://")
	assert.Contains(t, r.Proposal, plain+" without tls://")

	cert := testca.New(t).Server(t, "127.0.0.1")
	tl, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	require.NoError(t, err)
	secured := backendOn(t, tl, s, hsm(s, "00"))
	r = check(t, config(t, secured, s, nil))
	assert.NotEqual(t, Fine, r.Statement)
	assert.Contains(t, r.Proposal, "tls://"+secured, r)
	cfg = config(t, "tls://"+secured, s, nil)
	cfg.TLS = &tls.Config{InsecureSkipVerify: true}
	assert.Equal(t, Fine, check(t, cfg).Statement)
}

func TestABackendOfAnotherProtocolIsNamed(t *testing.T) {
	s := preset(t, "dns-tcp")
	addr := backend(t, s, func(frame []byte) []byte {
		if frame[4] != 1 { // a query that wants recursion, not "NC…"
			return nil
		}
		reply := append([]byte(nil), frame...)
		reply[4] |= 0x80
		return reply
	})
	r := check(t, config(t, addr, preset(t, "payshield"), nil))
	assert.Equal(t, Nothing, r.Statement)
	assert.Equal(t, "--framing dns-tcp: a request of that protocol was answered", r.Proposal)
}

func TestAnOpeningThatIsRefusedIsNamed(t *testing.T) {
	s := preset(t, "payshield")
	cfg := config(t, backend(t, s, hsm(s, "68")), s, nil)
	logon := request.Kind{Name: "logon", Weight: 1, Source: request.Bytes("NC"), Status: request.Status{Offset: 8, Len: 2, OK: [][]byte{[]byte("00")}}}
	cfg.Open = []request.Kind{logon}
	r := check(t, cfg)
	assert.Equal(t, Refused, r.Statement)
	assert.Contains(t, r.Verdict, "logon: the reply came and was refused: status 68 at 8")
	assert.NotContains(t, r.Text, "sent nc")
	cfg.Open[0].Status.OK[0] = []byte("68")
	r = check(t, cfg)
	assert.Equal(t, Fine, r.Statement)
	assert.Contains(t, r.Verdict, "2 of 2")
}

func TestEveryKindOfAMixIsSent(t *testing.T) {
	s := preset(t, "anet")
	addr := backend(t, s, func(frame []byte) []byte { return append([]byte(nil), frame...) })
	cfg := config(t, addr, s, nil)
	var err error
	cfg.Mix, err = request.NewMix([]request.Kind{
		{Name: "one", Weight: 1, Source: request.Bytes("1")}, {Name: "two", Weight: 1, Source: request.Bytes("2")}})
	require.NoError(t, err)
	r := check(t, cfg)
	assert.Equal(t, Fine, r.Statement)
	assert.Contains(t, r.Text, "sent one")
	assert.Contains(t, r.Text, "sent two")
	assert.Contains(t, r.Verdict, "2 of 2")
}

// messages is a backend of ISO 8583 that repeats a request with its type one higher.
func messages(s wire.Spec, change func(reply []byte)) func([]byte) []byte {
	return func(frame []byte) []byte {
		at := s.Length.End() + 2
		if len(frame) <= at || frame[at]&1 == 1 {
			return []byte{}
		}
		reply := append([]byte(nil), frame...)
		reply[at]++
		if change != nil {
			change(reply)
		}
		return reply
	}
}

func TestKeysOfMessagesAreDiagnosed(t *testing.T) {
	s := preset(t, "iso8583")
	message := "0200" + "0020000008800000" + "000000" + "123456789012" + "TERM0001"
	key := func(text string) wire.Spec {
		to := s
		m, err := wire.ParseMessage(text)
		require.NoError(t, err)
		to.Message, to.Name = m, ""
		return to
	}
	stan := func(b []byte) { copy(b[22:], "000000") }
	for name, c := range map[string]struct {
		real, ours        wire.Spec
		change            func([]byte)
		statement         Statement
		verdict, proposal string
	}{
		"right":          {s, key("11,41"), nil, Fine, "fine: 1 of 1", ""},
		"another key":    {s, key("11,41"), func(b []byte) { b[len(b)-1] = '2' }, NoMatch, "another field of iso8583:11,41 differs", "--id iso8583:11: the reply repeats those fields"},
		"STAN of theirs": {s, key("11"), stan, NoMatch, "its ID, at 22, is 30 30 30 30 30 30", "--id iso8583:37,41: the reply repeats"},
		"absent field":   {s, key("11"), func(b []byte) { copy(b[6:], "0000000008800000") }, NoMatch, "field 11: must be in every message", "--id none, if replies come in the order"},
		"other length":   {preset(t, "iso8583-dec"), key("11"), nil, Nothing, "nothing came", "--len off=0,len=4,form=dec --len-adj 0 --id iso8583:11: the same"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, backend(t, c.real, messages(c.real, c.change)), c.ours, func(k *request.Kind) { k.Source = request.Bytes(message) })
			r := check(t, cfg)
			assert.Equal(t, c.statement, r.Statement, r)
			assert.Contains(t, r.Verdict, c.verdict)
			assert.Contains(t, r.Proposal, c.proposal)
		})
	}
}
