package request

const (
	digitsMasked = 12 // and more in a row: card numbers
	hexMasked    = 16 // and more in a row: PIN blocks, keys
)

// Mask makes a payload fit to be written down. Rows of 12 digits and more, with single
// spaces or hyphens between them or not, and of 16 hexadecimal digits and more become
// asterisks. A payload with bytes that are no text is not shown: what stands in them, such
// as a card number of two digits a byte, cannot be recognised.
func Mask(payload []byte) string {
	for _, c := range payload {
		if c != '\t' && c != '\n' && c != '\r' && (c < ' ' || c > '~') {
			return "not shown: it is not all text"
		}
	}
	masked := append([]byte(nil), payload...)
	stars(masked, digitsMasked, func(c byte) bool { return c >= '0' && c <= '9' }, true)
	stars(masked, hexMasked, isHex, false)
	return string(masked)
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' || c == '*'
}

// stars replaces rows of at least so many bytes that are of a class.
func stars(b []byte, least int, is func(byte) bool, separated bool) {
	for at := 0; at < len(b); at++ {
		if !is(b[at]) {
			continue
		}
		n, end := 1, at+1
		for end < len(b) {
			if is(b[end]) {
				n, end = n+1, end+1
				continue
			}
			between := separated && (b[end] == ' ' || b[end] == '-') && end+1 < len(b) && is(b[end+1])
			if !between {
				break
			}
			end++
		}
		if n >= least {
			for i := at; i < end; i++ {
				b[i] = '*'
			}
		}
		at = end
	}
}
