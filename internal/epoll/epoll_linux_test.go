package epoll

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// waiting returns what an instance tells.
func waiting(t *testing.T, epfd int) (events uint32) {
	t.Helper()
	var got [4]unix.EpollEvent
	n, err := unix.EpollWait(epfd, got[:], 0)
	require.NoError(t, err)
	for _, e := range got[:n] {
		events |= e.Events
	}
	return events
}

func TestWatchOfSomebodyElsesInstance(t *testing.T) {
	epfds := make([]int, 3)
	for i := range epfds {
		fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		require.NoError(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		epfds[i] = fd
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(pair[0]); unix.Close(pair[1]) })
	fd := pair[0]

	_, ok := Of(fd)
	require.False(t, ok, "nobody watches it")
	require.NoError(t, unix.EpollCtl(epfds[1], unix.EPOLL_CTL_ADD, fd,
		&unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}))
	i, ok := Of(fd)
	require.True(t, ok)
	require.EqualValues(t, epfds[1], i)
	_, ok = Of(fd / 10)
	require.False(t, ok, "a number that only begins like it")

	require.False(t, i.Ready())
	_, err = unix.Write(pair[1], []byte("x"))
	require.NoError(t, err)
	for range 2 {
		require.True(t, i.Ready(), "looking takes nothing away")
	}
	assert.EqualValues(t, unix.EPOLLIN, waiting(t, epfds[1]))
	require.NoError(t, i.Watch(fd, false, false))
	assert.Zero(t, waiting(t, epfds[1]))
	require.False(t, i.Ready())
	require.NoError(t, i.Watch(fd, false, true))
	assert.EqualValues(t, unix.EPOLLOUT, waiting(t, epfds[1]))
	require.NoError(t, i.Watch(fd, true, true))
	assert.EqualValues(t, unix.EPOLLIN|unix.EPOLLOUT, waiting(t, epfds[1]))
	require.NoError(t, i.Watch(fd, true, false))
	assert.EqualValues(t, unix.EPOLLIN, waiting(t, epfds[1]))
	require.Error(t, i.Watch(pair[1], true, false), "it does not watch that one")
}
