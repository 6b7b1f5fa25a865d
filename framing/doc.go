// Package framing turns bytes into frames and frames into bytes.
//
// A frame is a length, the [taskid.ID] of a request and a payload. [Append] and
// [Parse] are the codec of the anet frame; both work on slices, allocate nothing
// and are small enough to be inlined. [Seal] completes a frame whose payload was
// written first. A [Format] describes variants of the frame and has the same
// methods. [Reader] and [Writer] use them over io. [AppendPlain] and
// [ParsePlain] handle frames without an ID. [Hello], [Control] and [Status] belong to the
// extension, for which both ends must be set.
//
// docs/PROTOCOL.md specifies the bytes and holds the test vectors.
package framing
