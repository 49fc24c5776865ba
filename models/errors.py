"""What can be wrong with a document of the contract.

    ContractError
    |- SpaceError          a description of a space
    |- PictureError        bytes that should be a picture of a face
    |- FeatureSetError     a file of features
    |- GraphError          an ONNX graph that may not be run
    |- BundleError         a folder that should be a bundle

Every message says what is wrong, where, and what to do about it; none carries a value that came from outside.
"""


class ContractError(ValueError):
    """A document breaks the contract."""


class SpaceError(ContractError):
    """A description of a space is malformed or inconsistent."""


class PictureError(ContractError):
    """The bytes are not a picture that can be used."""


class FeatureSetError(ContractError):
    """A feature set is malformed, or holds features that cannot be compared."""


class GraphError(ContractError):
    """An ONNX graph has something that is not allowed, or not what it declares."""


class BundleError(ContractError):
    """A bundle is damaged, incomplete or not allowed."""
