package resolve_test

import (
	"testing"

	"go.uber.org/goleak"
)

// Importing the server starts goroutines of a package below it, for good.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }
