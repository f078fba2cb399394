"""What the environments apart hold, to the last package: sets that were installed and used together on Python 3.11.

They are installed without looking at what the packages ask for. So the processor's build of TensorFlow stands in for
the one with CUDA that onnx2tf names, OpenCV's build without a screen for the one with, and what only training, plotting
or a browser needs (TensorBoard, gRPC, libclang, SymPy) is left away.
"""

from __future__ import annotations

from converters.apart.environment import ApartEnvironment

_SHARED = (
    "absl-py==2.5.1",
    "astunparse==1.6.3",
    "charset-normalizer==3.5.3",
    "certifi==2026.10.19.post1",
    "flatbuffers==25.12.19",
    "gast==0.7.0",
    "google-pasta==0.2.0",
    "idna==3.20",
    "keras==3.15.1",
    "markdown-it-py==4.3.0",
    "mdurl==0.1.2",
    "namex==0.1.0",
    "opt-einsum==3.4.0",
    "optree==0.20.0",
    "packaging==26.4",
    "pygments==2.21.0",
    "rich==15.0.0",
    "six==1.17.0",
    "termcolor==3.3.0",
    "typing-extensions==4.16.0",
    "urllib3==2.8.0",
    "wrapt==2.5.2",
)
KERAS = ApartEnvironment(
    name="keras",
    requirements=(
        *_SHARED,
        "h5py==3.14.0",
        "ml-dtypes==0.6.0",
        "numpy==2.4.6",
        "protobuf==7.36.2",
        "requests==2.34.2",
        "tensorflow-cpu==2.21.0",
    ),
    size_mb=1500,
    note="Keras and TensorFlow, to convert .keras and .h5 files",
)
# The newest onnx2tf for Python 3.11; it was written for these very versions.
ONNX2TF = ApartEnvironment(
    name="onnx2tf",
    requirements=(
        *_SHARED,
        "ai-edge-litert==2.1.0",
        "backports.strenum==1.2.8",
        "h5py==3.11.0",
        "ml-dtypes==0.5.1",
        "numpy==1.26.4",
        "onnx==1.19.1",
        "onnx2tf==1.29.24",
        "onnx-graphsurgeon==0.5.8",
        "onnxruntime==1.23.0",
        "onnxsim==0.4.36",
        "opencv-python-headless==4.11.0.86",
        "protobuf==4.25.5",
        "psutil==5.9.5",
        "requests==2.32.5",
        "sng4onnx==2.0.1",
        "tensorflow-cpu==2.19.0",
        "tf-keras==2.19.0",
    ),
    size_mb=1700,
    note="onnx2tf and TensorFlow, to convert ONNX files to TFLite",
)
