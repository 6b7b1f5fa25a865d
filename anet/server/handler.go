package server

// Handler answers requests. HandleMessage runs on a goroutine of its own and may
// block. request is valid until it returns, and the reply may be a part of it; the
// reply is copied. A nil reply sends nothing, an empty one that is not nil is sent.
// An error is logged, and a reply beside it is sent all the same: without one the
// client waits until its own timeout. A panic is logged and fails this request only.
type Handler interface {
	HandleMessage(conn *ServerConn, request []byte) ([]byte, error)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(conn *ServerConn, request []byte) ([]byte, error)

// HandleMessage calls f.
func (f HandlerFunc) HandleMessage(c *ServerConn, request []byte) ([]byte, error) {
	return f(c, request)
}
