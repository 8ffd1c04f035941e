for w in apple Banana 42 -x 'a b' '' file.c; do
  case $w in
    [0-9]*) echo "number $w" ;;
    -*) echo "option $w" ;;
    *.c) echo "source $w" ;;
    [A-Z]*) echo "capital $w" ;;
    '') echo "empty" ;;
    *\ *) echo "space $w" ;;
    *) echo "other $w" ;;
  esac
done
