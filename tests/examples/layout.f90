! The lines of layout.c, from the types that the Fortran module declares.
!
! SPDX-License-Identifier: Apache-2.0
program layout
    use lamina
    implicit none
    type(lmn_error), target :: error
    type(lmn_reducer_layer), target :: layer
    type(lmn_reducer_options), target :: options
    type(lmn_step_report), target :: report

    call field("lmn_error.status", c_loc(error), c_loc(error%status), c_sizeof(error%status))
    call field("lmn_error.rank", c_loc(error), c_loc(error%rank), c_sizeof(error%rank))
    call field("lmn_error.message", c_loc(error), c_loc(error%message), c_sizeof(error%message))
    call whole("lmn_error", c_sizeof(error))
    call field("lmn_reducer_layer.name", c_loc(layer), c_loc(layer%name), c_sizeof(layer%name))
    call field("lmn_reducer_layer.n_dims", c_loc(layer), c_loc(layer%n_dims), &
               c_sizeof(layer%n_dims))
    call field("lmn_reducer_layer.dims", c_loc(layer), c_loc(layer%dims), c_sizeof(layer%dims))
    call field("lmn_reducer_layer.dense", c_loc(layer), c_loc(layer%dense), c_sizeof(layer%dense))
    call whole("lmn_reducer_layer", c_sizeof(layer))
    call field("lmn_reducer_options.compress", c_loc(options), c_loc(options%compress), &
               c_sizeof(options%compress))
    call field("lmn_reducer_options.feedback", c_loc(options), c_loc(options%feedback), &
               c_sizeof(options%feedback))
    call field("lmn_reducer_options.allocate", c_loc(options), c_loc(options%allocate), &
               c_sizeof(options%allocate))
    call field("lmn_reducer_options.collective", c_loc(options), c_loc(options%collective), &
               c_sizeof(options%collective))
    call field("lmn_reducer_options.bucket_bytes", c_loc(options), c_loc(options%bucket_bytes), &
               c_sizeof(options%bucket_bytes))
    call field("lmn_reducer_options.dense_below", c_loc(options), c_loc(options%dense_below), &
               c_sizeof(options%dense_below))
    call field("lmn_reducer_options.n_scalars", c_loc(options), c_loc(options%n_scalars), &
               c_sizeof(options%n_scalars))
    call whole("lmn_reducer_options", c_sizeof(options))
    call field("lmn_step_report.applied", c_loc(report), c_loc(report%applied), &
               c_sizeof(report%applied))
    call field("lmn_step_report.reason", c_loc(report), c_loc(report%reason), &
               c_sizeof(report%reason))
    call field("lmn_step_report.scalars", c_loc(report), c_loc(report%scalars), &
               c_sizeof(report%scalars))
    call field("lmn_step_report.bytes_sent", c_loc(report), c_loc(report%bytes_sent), &
               c_sizeof(report%bytes_sent))
    call field("lmn_step_report.bytes_dense", c_loc(report), c_loc(report%bytes_dense), &
               c_sizeof(report%bytes_dense))
    call field("lmn_step_report.seconds_encode", c_loc(report), c_loc(report%seconds_encode), &
               c_sizeof(report%seconds_encode))
    call field("lmn_step_report.seconds_wait", c_loc(report), c_loc(report%seconds_wait), &
               c_sizeof(report%seconds_wait))
    call field("lmn_step_report.seconds_decode", c_loc(report), c_loc(report%seconds_decode), &
               c_sizeof(report%seconds_decode))
    call whole("lmn_step_report", c_sizeof(report))

contains

    subroutine field(name, start, place, bytes)
        character(len=*), intent(in) :: name
        type(c_ptr), intent(in) :: start, place
        integer(c_size_t), intent(in) :: bytes
        print "(a, 2(1x, i0))", name, transfer(place, 0_c_intptr_t) - transfer(start, 0_c_intptr_t), &
            bytes
    end subroutine field

    subroutine whole(name, bytes)
        character(len=*), intent(in) :: name
        integer(c_size_t), intent(in) :: bytes
        print "(a, 2(1x, i0))", name, 0, bytes
    end subroutine whole
end program layout
