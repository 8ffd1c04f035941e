mkdir -p src/a/b; echo 1 > src/a/1; echo 2 > src/a/b/2; ln -s a/1 src/link; chmod 4755 src/a/1
cp -a src dst; diff -r src dst && echo same; ls -l dst/a/1 | cut -c1-10; readlink dst/link
cp -r src dst; ls dst
cp src/a/1 src/a/b dst 2>&1; echo $?
mv dst moved; ls
mv moved/a/1 moved/renamed; ls moved
mv src/a moved/; echo $?
rm -r moved; ls; rm none; echo $?; rm -f none; echo $?; rm src; echo $?
