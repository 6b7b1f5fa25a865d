package anet

// Logger receives what a broker, a pool or a server has to report, never payload.
// Its methods are called by several goroutines.
type Logger interface {
	Print(v ...any)
	Printf(format string, v ...any)
	Infof(format string, v ...any)
	Warnf(format string, v ...any)
	Errorf(format string, v ...any)
}

// NoopLogger is a Logger that drops everything.
type NoopLogger struct{}

// Print does nothing.
func (*NoopLogger) Print(...any) {}

// Printf does nothing.
func (*NoopLogger) Printf(string, ...any) {}

// Infof does nothing.
func (*NoopLogger) Infof(string, ...any) {}

// Warnf does nothing.
func (*NoopLogger) Warnf(string, ...any) {}

// Errorf does nothing.
func (*NoopLogger) Errorf(string, ...any) {}
