"""Device side of snapedge, and the vocabulary and formats that builder and fleet share with it."""
