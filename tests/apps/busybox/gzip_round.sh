seq 1 5000 > f
cp f g
gzip f; gzip -t f.gz && echo ok; ls
gunzip f.gz; cmp f g && echo equal
gzip -c g | zcat | md5sum
echo broken > h.gz; gunzip h.gz; echo $?
bzip2 -c g | bzip2 -dc | cmp - g && echo bz
