package wire

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// presets are the framings that have a name, in the order in which they are listed.
var presets = []struct {
	about string
	spec  Spec
	// probe is the payload of a request that every server of the protocol answers and that
	// changes nothing, in hex; "" if there is none without a session.
	probe string
}{
	{"[u16 length][u32 id][payload]: anet and ringwire", Spec{
		Name: "anet", Length: Field{0, 2, Big}, ID: Field{2, 4, Big}, ReplyID: 2}, ""},
	{"Thales payShield host commands: [u16 length][4-byte header][command …]", Spec{
		Name: "payshield", Length: Field{0, 2, Big}, ID: Field{2, 4, Base36}, ReplyID: 2}, "4e43"},
	{"DNS over TCP", Spec{
		Name: "dns-tcp", Length: Field{0, 2, Big}, ID: Field{2, 2, Big}, ReplyID: 2,
		Reply: Mark{4, 0x80, 0x80}}, "010000010000000000000000020001"},
	{"Kafka; the correlation ID stands at 8 in a request, at 4 in a reply", Spec{
		Name: "kafka", Length: Field{0, 4, Big}, ID: Field{8, 4, Big}, ReplyID: 4, IDMax: 1<<31 - 1}, "00120000ffff"},
	{"Diameter; the ID is the hop-by-hop identifier", Spec{
		Name: "diameter", Length: Field{1, 3, Big}, Adjust: -4, ID: Field{12, 4, Big}, ReplyID: 12,
		Reply: Mark{4, 0x80, 0}}, ""},
	{"SMPP; the ID is the sequence number", Spec{
		Name: "smpp", Length: Field{0, 4, Big}, Adjust: -4, ID: Field{12, 4, Big}, ReplyID: 12,
		IDMin: 1, IDMax: 1<<31 - 1, Reply: Mark{4, 0x80, 0x80}}, "0000001500000000"},
	{"Modbus TCP; the ID is the transaction identifier", Spec{
		Name: "modbus", Length: Field{4, 2, Big}, ID: Field{0, 2, Big}, ReplyID: 0}, "0000010300000001"},
	{"[u16 length][payload], replies in the order of the requests", Spec{
		Name: "fifo", Length: Field{0, 2, Big}}, ""},
	{"ZooKeeper; the ID is the xid", Spec{
		Name: "zookeeper", Length: Field{0, 4, Big}, ID: Field{4, 4, Big}, ReplyID: 4,
		IDMin: 1, IDMax: 1<<31 - 1}, ""},
	{"Cassandra, native protocol 4; the ID is the stream", Spec{
		Name: "cassandra", Length: Field{5, 4, Big}, ID: Field{2, 2, Big}, ReplyID: 2,
		IDMax: 1<<15 - 1, Reply: Mark{0, 0x80, 0x80}}, "040005"},
	{"memcached's binary protocol; the ID is the opaque", Spec{
		Name: "memcached", Length: Field{8, 4, Big}, Adjust: 12, ID: Field{12, 4, Big}, ReplyID: 12,
		Reply: Mark{0, 0xff, 0x81}}, "800a0000000000000000000000000000"},
	{"MongoDB; the ID is requestID in a request, responseTo in a reply", Spec{
		Name: "mongodb", Length: Field{0, 4, Little}, Adjust: -4, ID: Field{4, 4, Little}, ReplyID: 8,
		IDMin: 1, IDMax: 1<<31 - 1}, ""},
	{"9P; the ID is the tag", Spec{
		Name: "9p", Length: Field{0, 4, Little}, Adjust: -4, ID: Field{5, 2, Little}, ReplyID: 5,
		IDMax: 1<<16 - 2, Reply: Mark{4, 1, 1}}, ""},
	{"Gearman, replies in the order of the requests", Spec{
		Name: "gearman", Length: Field{8, 4, Big}, Reply: Mark{3, 0xff, 'S'}}, "005245510000001070696e67"},
	{"ISO 8583 of 1987 in ASCII behind [u16 length]; the ID is field 11, the STAN", Spec{
		Name: "iso8583", Length: Field{0, 2, Big}, Message: Message{Key: []int{isoStan}}}, isoEcho},
	{"the same behind a length of four digits", Spec{
		Name: "iso8583-dec", Length: Field{0, 4, Decimal}, Message: Message{Key: []int{isoStan}}}, isoEcho},
}

// isoEcho is 0800 with fields 7, 11 and 70, which is 301: an echo test.
const isoEcho = "30383030" + "38323230303030303030303030303030" + "30343030303030303030303030303030" +
	"30313031303030303030" + "303030303031" + "333031"

// Preset returns the framing of that name, or an error that lists all names.
func Preset(name string) (Spec, error) {
	for i := range presets {
		if presets[i].spec.Name == name {
			return presets[i].spec, nil
		}
	}
	return Spec{}, fmt.Errorf("framing %q: must be one of %s", name, strings.Join(PresetNames(), ", "))
}

// PresetNames lists the presets.
func PresetNames() (names []string) {
	for i := range presets {
		names = append(names, presets[i].spec.Name)
	}
	return names
}

// Probe returns the payload of a harmless request of a preset's protocol, nil if it has
// none without a session, or if any payload will do.
func Probe(name string) []byte {
	i := slices.Index(PresetNames(), name)
	if i < 0 || presets[i].probe == "" {
		return nil
	}
	b, err := hex.DecodeString(presets[i].probe)
	if err != nil {
		panic(err) // a constant of ours
	}
	return b
}

// About says in a line what a preset is for; "" if there is none of that name.
func About(name string) string {
	i := slices.Index(PresetNames(), name)
	if i < 0 {
		return ""
	}
	return presets[i].about
}
