mkdir d; echo a > d/a; echo b > d/b; ln -s a d/l
find d | sort | cpio -o -H newc 2>/dev/null > x.cpio
mkdir out; cd out; cpio -id < ../x.cpio 2>/dev/null; find . | sort; cat d/a d/l; cd ..; cpio -t < x.cpio 2>/dev/null
