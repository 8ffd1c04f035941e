touch -d '2020-01-01 00:00:00' old
echo 12345 > sized
touch new; chmod 600 new; ln -s new link
find . -newer old | sort
find . -type l
find . -size -2 -type f -perm 600
find . -mtime +365
