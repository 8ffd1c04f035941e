echo 'hello, base64' | base64; echo aGVsbG8K | base64 -d; seq 1 30 | base64 | base64 -d | md5sum
echo data > f; uuencode f name | uudecode -o g; cat g; printf 'abc' | od -An -tx1; strings /dev/null; echo ok | rev
