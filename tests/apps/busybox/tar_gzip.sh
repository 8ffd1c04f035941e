mkdir -p tree/sub
seq 1 500 > tree/numbers; echo x > tree/sub/x; ln -s ../numbers tree/sub/link; chmod 750 tree/sub
tar czf t.tgz tree
mv tree before
tar xzf t.tgz
diff -r before tree && echo same
tar tzf t.tgz
ls -l tree/sub | tail -n +2 | sed 's/ .* / /'
readlink tree/sub/link
