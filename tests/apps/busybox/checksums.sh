seq 1 10000 > f
md5sum f; sha1sum f; sha256sum f; sha512sum f | cut -c1-40; cksum f; crc32 f
sha256sum f > sums; sha256sum -c sums; echo x >> f; sha256sum -c sums 2>/dev/null; echo $?
