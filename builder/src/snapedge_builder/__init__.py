"""Build host: a model file becomes images, images become snaps, snaps reach a store."""
