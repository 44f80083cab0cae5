"""Builds the open face model from CC0 MakeHuman data; see ../build_open_face_model.py."""
