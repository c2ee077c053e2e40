"""How a data set is named on a command line."""

LOCATIONS = """\
DIR                     class folders DIR/<class>/**/*.JPEG as ImageNet comes, or DIR/*.tar
DIR/{000..127}.tar      WebDataset shards, also by a glob; .jpg, .png or .webp beside .cls or .json
https://…/{000..9}.tar  shards read as a stream; also pipe:COMMAND and compressed local ones
hf:OWNER/NAME[@REVISION][#SPLIT], hf:DIR    a Hugging Face data set, downloaded once or local
hf-stream:OWNER/NAME[@REVISION][#SPLIT]     the same read as a stream
(after an hf location: ?config=NAME&image=COLUMN&label=COLUMN where they cannot be told)"""
"""Of labelled images, for help texts."""

CAPTIONED = """\
DIR                     pictures DIR/**/NAME.jpg with NAME.txt beside each, one caption a line, or
                        DIR/**/metadata.jsonl with "file_name" and "captions", "caption" or "text"
shards                  named as above; .jpg, .png or .webp beside .txt, or .json with one of these
hf:…, hf-stream:…       named as above, with ?caption=COLUMN where it cannot be told"""
"""The same of captioned images."""
