#!/bin/sh
# The five commands over the tiny fixtures, as a user's CI would run them: sh tests/smoke.sh FOLDER [pipes|files]
set -eu
fixtures=$(cd "$(dirname "$0")/../fixtures" && pwd)
mkdir -p "$1"
cd "$1"

ddlabel import "$fixtures/digits.npz" real.safetensors --quiet
ddlabel import "$fixtures/digits.npz" test.safetensors --quiet --split test
ddlabel train-expert real.safetensors expert --quiet \
    --net convnet-d1:width=8 --epochs 2 --save-every 0.5 --batch-size 30 --optimizer sgd:lr=0.1
if [ "${2:-pipes}" = pipes ]; then
    ddlabel select real.safetensors - --quiet --ipc 2 |
        ddlabel relabel - - --quiet --expert expert --epoch 1.5 |
        ddlabel densify - - --quiet --expert expert --views grid:n=2,r=0.75 |
        ddlabel refine - labelled.safetensors --quiet
else
    ddlabel select real.safetensors few.h5 --quiet --ipc 2
    ddlabel relabel few.h5 soft.safetensors --quiet --expert expert --epoch 1.5
    ddlabel densify soft.safetensors dense.h5 --quiet --expert expert --views grid:n=2,r=0.75
    ddlabel refine dense.h5 labelled.safetensors --quiet
fi
ddlabel evaluate labelled.safetensors --quiet --test test.safetensors --out results.jsonl \
    --net convnet-d1:width=8 --loss cosine --optimizer sgd --epochs 3 --seeds 2
ddlabel check labelled.safetensors --quiet
