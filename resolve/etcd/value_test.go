package etcd

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEachFormOfAValueIsAServer(t *testing.T) {
	for text, want := range map[string]server{
		``:                                   {"name", 1, 0},
		" 7\n":                               {"name", 7, 0},
		`0`:                                  {"name", 1, 0},
		`{}`:                                 {"name", 1, 0},
		`{"weight": 3, "priority": -1}`:      {"name", 3, -1},
		`{"addr": "10.0.0.1:9", "weight":2}`: {"10.0.0.1:9", 2, 0},
		`{"Op":0,"Addr":"10.0.0.1:9","Metadata":null}`:                        {"10.0.0.1:9", 1, 0},
		`{"Op":0,"Addr":"10.0.0.1:9","Metadata":"zone a"}`:                    {"10.0.0.1:9", 1, 0},
		`{"Op":0,"Addr":"10.0.0.1:9","Metadata":{"Weight":4,"priority":2}}`:   {"10.0.0.1:9", 4, 2},
		`{"Op":0,"Addr":"10.0.0.1:9","Metadata":{"weight":4},"weight": 5}`:    {"10.0.0.1:9", 5, 0},
		`{"Op":0,"Addr":"10.0.0.1:9","Metadata":{"weight":"heavy","zone":1}}`: {"10.0.0.1:9", 1, 0},
	} {
		got, err := parse("name", []byte(text))
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
}

func TestAWrongValueIsAnErrorThatDoesNotTellIt(t *testing.T) {
	for text, want := range map[string]string{
		`secret`:                `must be empty, a weight, or an object`,
		`{"weight": "secret"}`:  `Weight is no int`,
		`{secret`:               `its syntax is wrong`,
		`-1`:                    `its weight is -1; it must lie in 1 to`,
		`{"weight": 100000000}`: `its weight is 100000000; it must lie in 1 to`,
		`[secret]`:              `must be empty, a weight, or an object`,
	} {
		_, err := parse("name", []byte(text))
		require.ErrorContains(t, err, want, text)
		assert.NotContains(t, err.Error(), "secret")
	}
	_, err := parse("", []byte("3"))
	assert.ErrorContains(t, err, "it names no address")
}

func TestOnlyTheLowestPriorityIsUsedAndAnAddressOnce(t *testing.T) {
	set := servers(map[string]server{
		"p/1": {"c:1", 1, 1}, "p/2": {"b:1", 2, 0}, "p/3": {"a:1", 3, 0}, "p/4": {"b:1", 9, 0},
	})
	require.Len(t, set, 2)
	assert.Equal(t, "a:1", set[0].Addr)
	assert.Equal(t, "b:1", set[1].Addr)
	assert.Equal(t, 2, set[1].Weight, "of two keys the first one counts")
	assert.Empty(t, servers(nil))
}
