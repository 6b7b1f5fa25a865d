// Package page writes the report of a run as one page of HTML that needs nothing else: no
// network, no script, no style sheet. Charts are drawn with SVG attributes, so that they are
// there where a viewer forbids scripts and styles; the style only makes it pleasant.
package page
