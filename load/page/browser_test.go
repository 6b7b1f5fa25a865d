package page

import (
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The page in a browser, as it is and where scripts and inline styles are forbidden. Each
// colour of a line must be on the screen, in the charts. make load-browser installs one.
func TestABrowserDrawsAllChartsWhateverIsForbidden(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium: make load-browser installs it and runs this")
	}
	page := written(t, ran(), seconds(600), "p99<5ms", "error_rate<1%")
	for name, policy := range map[string]string{
		"all": "", "strict": "sandbox; default-src 'none'; img-src 'self'; style-src 'self'",
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if policy != "" {
					w.Header().Set("Content-Security-Policy", policy)
				}
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				_, _ = w.Write([]byte(page))
			}))
			defer srv.Close()
			shot := filepath.Join(t.TempDir(), "page.png")
			if dir := os.Getenv("SCREENSHOTS"); dir != "" {
				shot = filepath.Join(dir, "load-report-"+name+".png")
			}
			out, err := exec.CommandContext(t.Context(), browser, "--headless", "--no-sandbox", "--disable-gpu",
				"--user-data-dir="+t.TempDir(), "--window-size=820,2400", "--screenshot="+shot, srv.URL).CombinedOutput()
			require.NoError(t, err, "%s", out)
			f, err := os.Open(shot)
			require.NoError(t, err)
			defer f.Close()
			img, err := png.Decode(f)
			require.NoError(t, err)
			for _, colour := range colours[:4] {
				assert.Greater(t, pixels(img, colour), 300, colour)
			}
		})
	}
}

// pixels counts those that are nearly of a colour, written #rrggbb.
func pixels(img image.Image, colour string) (n int) {
	var want [3]int
	for i := range want {
		for _, digit := range colour[1+2*i : 3+2*i] {
			v := int(digit - '0')
			if digit >= 'a' {
				v = int(digit-'a') + 10
			}
			want[i] = 16*want[i] + v
		}
	}
	b := img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			r, g, bl, _ := img.At(x, y).RGBA()
			far := 0
			for i, v := range []int{int(r >> 8), int(g >> 8), int(bl >> 8)} {
				far = max(far, v-want[i], want[i]-v)
			}
			if far <= 70 { // a thin line is mixed with the ground
				n++
			}
		}
	}
	return n
}
