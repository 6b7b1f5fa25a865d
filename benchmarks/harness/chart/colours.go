package chart

// colours is how many classes the palettes have.
const colours = 13

const palette = `.s0{stroke:#0969da}.s1{stroke:#1a7f37}.s2{stroke:#8250df}.s3{stroke:#bc4c00}.s4{stroke:#6e7781}.s5{stroke:#bf3989}
.s6{stroke:#9a6700}.s7{stroke:#0a7d86}.s8{stroke:#cf222e}.s9{stroke:#4b6bfb}.s10{stroke:#57803c}.s11{stroke:#8c564b}
.s12{stroke:#24292f}
.f0{fill:#0969da}.f1{fill:#1a7f37}.f2{fill:#8250df}.f3{fill:#bc4c00}.f4{fill:#6e7781}.f5{fill:#bf3989}
.f6{fill:#9a6700}.f7{fill:#0a7d86}.f8{fill:#cf222e}.f9{fill:#4b6bfb}.f10{fill:#57803c}.f11{fill:#8c564b}
.f12{fill:#24292f}`

const darkPalette = `.s0{stroke:#4493f8}.s1{stroke:#3fb950}.s2{stroke:#ab7df8}.s3{stroke:#f0883e}.s4{stroke:#9198a1}.s5{stroke:#db61a2}
.s6{stroke:#d29922}.s7{stroke:#39c5cf}.s8{stroke:#ff7b72}.s9{stroke:#8fa3ff}.s10{stroke:#8ddb70}.s11{stroke:#c9a08f}
.s12{stroke:#e6edf3}
.f0{fill:#4493f8}.f1{fill:#3fb950}.f2{fill:#ab7df8}.f3{fill:#f0883e}.f4{fill:#9198a1}.f5{fill:#db61a2}
.f6{fill:#d29922}.f7{fill:#39c5cf}.f8{fill:#ff7b72}.f9{fill:#8fa3ff}.f10{fill:#8ddb70}.f11{fill:#c9a08f}
.f12{fill:#e6edf3}`
