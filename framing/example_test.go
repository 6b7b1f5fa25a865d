package framing_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

func Example() {
	var wire bytes.Buffer
	w := framing.NewWriter(&wire, framing.Format{})
	for i, payload := range []string{"hello", "world"} {
		if err := w.WriteFrame(taskid.ID(i+1), []byte(payload)); err != nil {
			fmt.Println(err)
			return
		}
	}
	if err := w.Flush(); err != nil {
		fmt.Println(err)
		return
	}

	r := framing.NewReader(&wire, framing.Format{})
	for {
		frame, err := r.ReadFrame()
		if err == io.EOF {
			return
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%v %s\n", frame.ID, frame.Payload)
	}
	// Output:
	// 00000001 hello
	// 00000002 world
}

func ExampleAppend() {
	b, err := framing.Append(nil, 0x01020304, []byte("abcdef"))
	fmt.Printf("% x, %v\n", b, err)
	_, err = framing.Append(nil, 1, make([]byte, framing.MaxPayload+1))
	fmt.Println(errors.Is(err, framing.ErrMaxLenExceeded), err)
	// Output:
	// 00 0a 01 02 03 04 61 62 63 64 65 66, <nil>
	// true framing: maximum message length exceeded: 65536 is not in 4..65535; send a smaller payload
}

// An event loop parses all that has arrived and keeps the rest.
func ExampleParse() {
	arrived := []byte{
		0, 6, 0, 0, 0, 1, 'h', 'i',
		0, 4, 0, 0, 0, 2,
		0, 9, 0, 0, 0, 3, 'p', 'a',
	}
	for {
		frame, n, err := framing.Parse(arrived)
		if err != nil {
			fmt.Println("close:", err)
			return
		}
		if n == 0 {
			break
		}
		fmt.Printf("%v %q\n", frame.ID, frame.Payload)
		arrived = arrived[n:]
	}
	size, _ := framing.FrameSize(arrived)
	fmt.Println(len(arrived), "of", size, "bytes")
	// Output:
	// 00000001 "hi"
	// 00000002 ""
	// 8 of 11 bytes
}

// A handler appends its reply behind the gap; the header follows when the size
// is known.
func ExampleSeal() {
	var out []byte
	for id := range 2 {
		start := len(out)
		out = framing.Reserve(out)
		out = fmt.Appendf(out, "reply %d", id+1)
		if err := framing.Seal(out, start, taskid.ID(id+1)); err != nil {
			out = out[:start] // does not fit: leave it out
		}
	}
	fmt.Printf("%q\n", out)
	// Output:
	// "\x00\v\x00\x00\x00\x01reply 1\x00\v\x00\x00\x00\x02reply 2"
}

// Payloads over 65,531 bytes need a four-byte length at both ends.
func ExampleFormat() {
	wide := framing.Format{LengthSize: 4, MaxFrame: 1 << 20}
	if err := wide.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	b, err := wide.Append(nil, 1, make([]byte, 70000))
	fmt.Printf("% x…, %d bytes, %v\n", b[:wide.HeaderSize()], len(b), err)
	fmt.Println(framing.Format{LengthSize: 3}.Validate())
	// Output:
	// 00 01 11 74 00 00 00 01…, 70008 bytes, <nil>
	// framing: Format.LengthSize is 3; use 2 or 4, or 0 for 2
}

func ExampleAppendPlain() {
	b, _ := framing.AppendPlain(nil, []byte("hello"))
	payload, n := framing.ParsePlain(b)
	fmt.Printf("% x: %s, %d bytes\n", b, payload, n)
	// Output:
	// 00 05 68 65 6c 6c 6f: hello, 7 bytes
}
