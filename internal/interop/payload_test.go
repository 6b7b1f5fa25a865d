package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// payloadMax is the largest payload of the frame: 65,535 less the task ID.
const payloadMax = 65531

// sizes are the payload lengths that every pair of ends is tried with.
var sizes = []int{0, 1, 64, 1024, payloadMax}

// patience bounds what should take milliseconds.
const patience = 60 * time.Second

// sender makes one request and returns its reply.
type sender func(ctx context.Context, req []byte) ([]byte, error)

// payload returns size bytes that belong to request id alone: its number, then
// bytes drawn with the number as the seed. A reply to another request differs in
// the first bytes, one that mixes two requests differs further on.
func payload(id uint64, size int) []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, size+16), id)
	random := rand.NewPCG(id, 0)
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, random.Uint64())
	}
	return b[:size]
}

// exchange makes one request and compares the reply with it byte for byte.
func exchange(ctx context.Context, send sender, id uint64, size int) error {
	req := payload(id, size)
	reply, err := send(ctx, slices.Clone(req))
	if err != nil {
		return fmt.Errorf("request %d of %d bytes: %w", id, size, err)
	}
	if !bytes.Equal(reply, req) {
		return fmt.Errorf("request %d of %d bytes: the reply has %d bytes and differs at byte %d",
			id, size, len(reply), firstDifference(reply, req))
	}
	return nil
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// testEachSize makes requests of every size, one after the other, twice: a
// buffer that is used again must not show what it held before.
func testEachSize(t *testing.T, send sender) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for round := range 2 {
		for i, size := range sizes {
			require.NoError(t, exchange(ctx, send, uint64(round*len(sizes)+i), size))
		}
	}
}

// testConcurrent makes 1,000 requests at once, of 64 to 1,087 bytes and every
// fiftieth of the largest size.
func testConcurrent(t *testing.T, send sender) {
	const requests = 1000
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	start := make(chan struct{})
	failed := make(chan error, requests)
	var running sync.WaitGroup
	for id := range uint64(requests) {
		size := 64 + int(id)%1024
		if id%50 == 0 {
			size = payloadMax
		}
		running.Go(func() {
			<-start
			if err := exchange(ctx, send, id, size); err != nil {
				failed <- err
			}
		})
	}
	close(start)
	running.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
}

func TestPayloadsIdentifyTheirRequest(t *testing.T) {
	for _, size := range sizes {
		require.Len(t, payload(1, size), size)
		require.Equal(t, payload(1, size), payload(1, size))
	}
	require.NotEqual(t, payload(1, 64)[:8], payload(2, 64)[:8])
	require.NotEqual(t, payload(1, 64)[8:], payload(2, 64)[8:])

	wrong := func(_ context.Context, req []byte) ([]byte, error) {
		req[len(req)-1]++
		return req, nil
	}
	require.ErrorContains(t, exchange(t.Context(), wrong, 3, 64), "differs at byte 63")
}
