#!/bin/sh
# The program of the device, as far as an update is concerned: asked, it says how it is.
case VERSION in
3.*) echo "VERSION is sick" ;;
*) echo "VERSION is healthy" ;;
esac
