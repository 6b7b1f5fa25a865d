package role_test

import (
	"fmt"
	"math/rand/v2"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/role"
)

// labels returns the profile of all goroutines, which names their labels.
func labels(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	require.NoError(t, pprof.Lookup("goroutine").WriteTo(&text, 1))
	return text.String()
}

func TestSetLabelsTheCallingGoroutineUntilItIsSetAgain(t *testing.T) {
	run := fmt.Sprint(" of run ", rand.Uint64()) // a goroutine of the last may be ending still
	done := make(chan struct{})
	go func() {
		defer close(done)
		role.Set("first" + run)
		role.Set("second" + run)
		now := labels(t)
		assert.Contains(t, now, `"ringwire":"second`+run+`"`)
		assert.Equal(t, 1, strings.Count(now, run), "no other goroutine and no other label")
	}()
	<-done
}
