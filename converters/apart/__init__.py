"""What TensorFlow alone can do, each in an environment of its own that is made when it is needed.

Keras files and onnx2tf need TensorFlow, which weighs more than all the rest and pins other versions of it. So it is
never imported here: `environment` makes a virtual environment from exact pins, `process` runs a job in it, and
`convert` checks with the device's own runtime what came out.
"""
