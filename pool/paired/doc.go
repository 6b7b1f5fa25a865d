// Package paired keeps connections ready at both ends of a link, and lets either
// end name one of them.
//
// A server pool accepts connections from a listener, gives each a random ID of
// eight bytes, and sends it to the client as the first bytes after the TLS
// handshake. A client pool dials the server ahead of need and reads the IDs. So
// both ends hold the same connections under the same IDs: one end takes any
// connection that is ready ([Pool.ServerGet]), tells the other its ID over some
// channel of their own, and the other takes its half ([Pool.ClientGet]). This is
// how tunnels and reverse proxies hand a waiting connection to a new stream
// without a dial on its way.
//
//	server                                client
//	──────                                ──────
//	NewServerPool(listener)               NewClientPool(address)
//	accept, check the address    ◀──────  dial
//	TLS handshake                ◀─────▶  TLS handshake
//	make an ID, send it          ──────▶  read it (8 bytes)
//	ready under the ID                    ready under the ID
//	id, conn := ServerGet(ctx)
//	tell the client the id       ── … ─▶  conn := ClientGet(ctx, id)
//	use conn                     ◀─────▶  use conn
//	Put(id, conn)                         Put(id, conn)
//
// Both pools work from the moment their constructor returns until Close. They
// need no call to a manager; [Pool.ClientManager] and [Pool.ServerManager] only
// wait for the end.
//
// # Connections
//
// What the pool hands out is a [*Conn]. A caller that gets one owns it until Put, which
// returns it, or Close, which ends it; either makes room in the pool. After Put
// the handle is dead: using it is an error and does not disturb the next owner.
// A connection put back must be silent at both ends: all that was sent has been
// read. Put refuses one on which bytes wait, but cannot see those under way.
//
// A half that died while it was ready is noticed, without consuming a byte, when
// it is to be handed out and in every turn of the pool's manager. Bytes that wait
// on a ready connection do not speak against it: the other end may have taken its
// half already and be talking.
package paired
