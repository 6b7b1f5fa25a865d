// Package anetcontrol proves that the chaos harness can find what it looks for:
// pointed at anet v1.0.0 in Multiplex mode with pooled tasks, over the same proxy
// and against the same server as ringwire's own client, it finds replies that
// reached the wrong caller.
//
// The cause is in anet's pipeline: when a connection fails, its tasks are
// recycled while some of them still sit in the channel of the writer, which may
// take one more before it sees that it has to quit. That task already belongs
// to a new request.
package anetcontrol
