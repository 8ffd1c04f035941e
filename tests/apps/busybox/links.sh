echo data > f
ln f hard; ln -s f soft; ln -s nowhere dangling
ls -l | awk '{ print substr($1, 1, 10), $2, $9, $10, $11 }' | tail -n +2
echo more >> hard; cat f; cat soft; cat dangling; echo $?
[ f -ef hard ] && echo same; [ -L soft ] && echo link; [ -e dangling ] || echo broken
rm f; cat hard; cat soft; echo $?
realpath . | sed 's,.*/,,' | wc -l; readlink soft; ln -s a b/c; echo $?
