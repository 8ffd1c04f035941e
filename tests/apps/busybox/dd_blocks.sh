dd if=/dev/zero of=z bs=1k count=64 2>/dev/null; wc -c < z
printf 0123456789 > d
dd if=d bs=1 skip=3 count=4 2>/dev/null; echo
printf XY | dd of=d bs=1 seek=5 conv=notrunc 2>/dev/null; cat d; echo
dd if=d of=e ibs=3 obs=7 2>&1 | head -2
dd if=/dev/null of=e bs=1 seek=1000 2>/dev/null; wc -c < e
