yes | head -3
seq 1 100000 | head -1
yes "a longer line of text" | dd bs=64 count=2 2>/dev/null | wc -c
