module berth.dev/test/realnodes/probe

go 1.26.6
