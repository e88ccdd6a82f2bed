module berth.dev/image/pause

go 1.26
